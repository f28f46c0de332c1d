//! The paths as a tree. A record is walked along it.

/// Stands for the items of a list.
pub(super) const ITEMS: &str = "[]";
/// The deepest path, in steps. No record is so deep, so a deeper path is a mistake.
const DEEPEST: usize = 32;
const NAME_NEEDED: &str = "needs the name of a property, such as \"person.id\"";
const TOO_DEEP: &str = "leads deeper than any record; needs at most 32 names and lists";
const LIST_AT_END: &str =
    "\"[]\" stands behind the name of a list, such as \"activityLevels[].level\"";

/// The part of a value that is kept.
#[derive(Debug, Clone)]
pub(super) enum Kept {
    Whole,
    Parts(Parts),
}

/// The kept parts of an object or a list. Of any other value, nothing is kept.
#[derive(Debug, Clone, Default)]
pub(super) struct Parts {
    members: Vec<(String, Kept)>,
    items: Option<Box<Kept>>,
}

impl Parts {
    /// Adds a path to what is kept.
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

    /// Keeps `kept` at the end of the steps, unless the value there is kept whole already. Without steps, nothing
    /// changes.
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

    /// What is kept of a member. `None` if nothing is.
    pub(super) fn of_member(&self, name: &[u8]) -> Option<&Kept> {
        let mut members = self.members.iter();
        let found = members.find(|(known, _)| known.as_bytes() == name);
        found.map(|(_, kept)| kept)
    }

    /// What is kept of each item. `None` if nothing is.
    pub(super) fn of_items(&self) -> Option<&Kept> {
        self.items.as_deref()
    }

    /// Whether something is kept of a value that starts with this byte.
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
