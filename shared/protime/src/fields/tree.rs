//! Paths as a tree, which a record is walked along.

/// Stands for the items of a list.
pub(super) const ITEMS: &str = "[]";
/// So deep no record is; a deeper path is a mistake.
const DEEPEST: usize = 32;
const NAME_NEEDED: &str = "needs the name of a property, such as \"person.id\"";
const TOO_DEEP: &str = "leads deeper than any record; needs at most 32 names and lists";
const LIST_AT_END: &str =
    "\"[]\" stands behind the name of a list, such as \"activityLevels[].level\"";

/// What is kept of a value.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    /// All of it.
    Whole,
    Parts(Parts),
}

/// What is kept of an object or of a list, and nothing of any other value.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    members: Vec<(String, Kept)>,
    items: Option<Box<Kept>>,
}

impl Parts {
    /// Keeps what a path leads to as well.
    pub(super) fn add(&mut self, path: &str) -> Result<(), &'static str> {
        let mut steps = Vec::new();
        for segment in path.split('.') {
            let name = segment.trim_end_matches(ITEMS);
            if name.trim().is_empty() {
                return Err(NAME_NEEDED);
            }
            if name.contains(['[', ']']) {
                return Err(LIST_AT_END);
            }
            steps.extend(super::steps(segment));
        }
        if steps.len() > DEEPEST {
            return Err(TOO_DEEP);
        }
        self.keep(&steps, Kept::Whole);
        Ok(())
    }

    /// Keeps this of what the steps lead to, unless it is kept whole already. Without a step, nothing changes.
    pub(super) fn keep(&mut self, steps: &[&str], kept: Kept) {
        let [step, rest @ ..] = steps else {
            return;
        };
        let place = if *step == ITEMS {
            self.items.get_or_insert_with(Box::default).as_mut()
        } else {
            let known = self.members.iter().position(|(name, _)| name == step);
            let index = known.unwrap_or_else(|| {
                self.members.push(((*step).to_owned(), Kept::default()));
                self.members.len() - 1
            });
            &mut self.members[index].1
        };
        match place {
            Kept::Whole => {}
            place if rest.is_empty() => *place = kept,
            Kept::Parts(parts) => parts.keep(rest, kept),
        }
    }

    /// What is kept of a member; none: nothing.
    pub(super) fn of_member(&self, name: &[u8]) -> Option<&Kept> {
        let mut members = self.members.iter();
        let found = members.find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, kept)| kept)
    }

    /// What is kept of each item.
    pub(super) fn of_items(&self) -> Option<&Kept> {
        self.items.as_deref()
    }

    /// Whether anything is kept of a value that begins so.
    pub(super) fn fit(&self, first: u8) -> bool {
        match first {
            b'{' => !self.members.is_empty(),
            b'[' => self.items.is_some(),
            _ => false,
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self::Parts(Parts::default())
    }
}
