//! Checks the names of queues in URLs.

const LONGEST: usize = 80;

/// The problem with the queue's name at the end of a URL. `None` if the text is no URL or the name is valid.
pub(super) fn wrong_name(url: &str) -> Option<String> {
    if !url.starts_with("http") {
        return None;
    }
    let (_, name) = url.rsplit_once('/')?;
    let plain = name.strip_suffix(".fifo").unwrap_or(name);
    let is_legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let is_right = !plain.is_empty() && name.len() <= LONGEST && plain.chars().all(is_legal);
    (!is_right).then(|| {
        format!(
            "`{name}` is no name of a queue, which is 1 to {LONGEST} of A-Z a-z 0-9 - _, and may end in .fifo"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::wrong_name;

    #[test]
    fn names_that_sqs_refuses_are_found() {
        let url = |name: &str| format!("https://sqs.eu-west-1.amazonaws.com/123456789012/{name}");
        for name in ["orders", "orders.fifo", "a-b_C9"] {
            assert_eq!(wrong_name(&url(name)), None, "{name}");
        }
        for name in ["", "my queue", "a.b", ".fifo", "orders.FIFO"] {
            assert!(wrong_name(&url(name)).is_some(), "{name}");
        }
        assert_eq!(wrong_name("orders"), None);
    }
}
