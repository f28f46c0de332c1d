//! What every page has around it.

/// For the template `base.html`.
pub(super) struct Site {
    pub(super) base: String,
    pub(super) stack: String,
    pub(super) place: Place,
    pub(super) allows_changes: bool,
    /// What shows that a form is ours.
    pub(super) form: String,
    pub(super) notice: Option<String>,
}

/// Where in the navigation a page is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Overview,
    Parked,
    Try,
    Entities,
    None,
}

impl Site {
    pub(super) fn places(&self) -> [(&'static str, &'static str, bool); 4] {
        let is = |place| self.place == place;
        [
            ("/", "Overview", is(Place::Overview)),
            ("/parked", "Parked messages", is(Place::Parked)),
            ("/try", "Try a transformer", is(Place::Try)),
            ("/entities", "Entities", is(Place::Entities)),
        ]
    }
}
