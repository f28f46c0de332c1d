# The commands. What each does is a function of infra/tasks.sh: make itself only names them, so that every
# make will do, also the one that Apple ships.

COMMANDS := help demo test watch deploy release bench bench-short check end-to-end archive storm scale picture

.PHONY: $(COMMANDS)
$(COMMANDS):
	@bash infra/tasks.sh $@
