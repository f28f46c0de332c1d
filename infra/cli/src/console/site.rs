//! The frame around every page.

/// The data of the template `base.html`.
pub(super) struct Site {
    pub(super) base: String,
    pub(super) stack: String,
    pub(super) place: Place,
    pub(super) allows_changes: bool,
    /// The token that shows that a form is ours.
    pub(super) form: String,
    pub(super) notice: Option<String>,
}

/// The page's place in the navigation.
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
