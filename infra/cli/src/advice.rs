//! Advice for each kind of failure. It comes from the table in infra/OPERATIONS.md, which is its only place.

const OPERATIONS: &str = include_str!("../../OPERATIONS.md");

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) meaning: &'static str,
    pub(crate) remedy: &'static str,
}

/// Finds the row for a kind of failure, such as `ClientRejected`.
pub(crate) fn on(kind: &str) -> Option<Advice> {
    let beginning = format!("| `{kind}` | ");
    let row = OPERATIONS
        .lines()
        .find_map(|line| line.strip_prefix(&beginning));
    let (meaning, remedy) = row?.strip_suffix(" |")?.split_once(" | ")?;
    Some(Advice { meaning, remedy })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_a_row() {
        let advice = on("ClientRejected").unwrap();
        assert_eq!(
            advice.meaning,
            "Protime does not accept client id, secret or scopes"
        );
        assert_eq!(advice.remedy, "correct the secret; no redeploy");
        for kind in ["InvalidConnection", "ProtimeUnavailable", "Dropped"] {
            assert!(on(kind).is_some(), "{kind}");
        }
        assert_eq!(on("NoSuchKind"), None);
    }
}
