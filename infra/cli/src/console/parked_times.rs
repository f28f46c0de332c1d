//! The times at which the parked messages were parked.

use jiff::Timestamp;

use super::{Console, held};
use crate::arguments::ParkedFilter;
use crate::commands::parked;
use crate::error::Error;

/// The times from the last look at the queues. A look hides messages from others for a moment. It is therefore made
/// only after the number of messages has changed, however often a page is refreshed.
#[derive(Default)]
pub(super) struct ParkedTimes {
    count: usize,
    times: Vec<Timestamp>,
}

impl Console {
    pub(super) async fn parked_times(&self) -> Result<Vec<Timestamp>, Error> {
        let outgoing = parked::find(&self.stack)?;
        let mut count = 0;
        for outgoing in &outgoing {
            count += outgoing.parked.size().await?;
        }
        {
            let known = held(&self.parked);
            if known.count == count {
                return Ok(known.times.clone());
            }
        }
        let shelves = parked::look(&outgoing, &ParkedFilter::default()).await?;
        let letters = shelves.iter().flat_map(|shelf| &shelf.letters);
        let times: Vec<Timestamp> = letters.map(|letter| letter.parked).collect();
        *held(&self.parked) = ParkedTimes {
            count,
            times: times.clone(),
        };
        Ok(times)
    }
}
