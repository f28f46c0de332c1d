//! What a run counts.

/// Totals of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Counts {
    /// Responses of Protime, including empty ones.
    pub pages: u64,
    /// Records in these responses.
    pub records: u64,
    /// Distinct page messages sent.
    pub messages: u64,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(counts: I) -> Self {
        counts.fold(Self::default(), |sum, counts| Self {
            pages: sum.pages + counts.pages,
            records: sum.records + counts.records,
            messages: sum.messages + counts.messages,
        })
    }
}
