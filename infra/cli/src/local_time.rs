//! Times in a zone, as the cron library needs them.

use std::cmp::Ordering;

use croner::errors::CronError;
use croner::time::{CivilDateTime, CronDateTime, Resolution, Weekday};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

#[derive(Debug, Clone)]
pub(crate) struct LocalTime {
    pub(crate) time: Timestamp,
    pub(crate) zone: TimeZone,
}

impl LocalTime {
    fn at(&self, time: Result<Timestamp, jiff::Error>) -> Result<Self, CronError> {
        let time = time.map_err(|_| CronError::InvalidTime)?;
        let zone = self.zone.clone();
        Ok(Self { time, zone })
    }

    fn datetime(&self) -> DateTime {
        self.time.to_zoned_datetime(self.zone.clone()).datetime()
    }
}

impl CronDateTime for LocalTime {
    fn to_civil(&self) -> CivilDateTime {
        let now = self.datetime();
        let part = |value: i8| u32::try_from(value).unwrap_or_default();
        let civil = CivilDateTime::from_ymd_hms_opt(
            i32::from(now.year()),
            part(now.month()),
            part(now.day()),
            part(now.hour()),
            part(now.minute()),
            part(now.second()),
        );
        // The date and time come from jiff, so they are valid.
        civil.unwrap_or_else(|| unreachable!())
    }

    fn civil_weekday(&self) -> Weekday {
        let day = self.datetime().weekday().to_sunday_zero_offset();
        Weekday::from_days_from_sunday(u32::try_from(day).unwrap_or_default())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> Result<Resolution<Self>, CronError> {
        let year = i16::try_from(civil.year()).map_err(|_| CronError::InvalidDate)?;
        let part = |value: u32| i8::try_from(value).unwrap_or_default();
        let datetime = DateTime::new(
            year,
            part(civil.month()),
            part(civil.day()),
            part(civil.hour()),
            part(civil.minute()),
            part(civil.second()),
            0,
        );
        let datetime = datetime.map_err(|_| CronError::InvalidDate)?;
        let ambiguous = self.zone.to_ambiguous_timestamp(datetime);
        Ok(match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => {
                Resolution::Single(self.at(ambiguous.unambiguous())?)
            }
            AmbiguousOffset::Fold { .. } => {
                let earlier = self.at(ambiguous.earlier())?;
                Resolution::Ambiguous(earlier, self.at(ambiguous.later())?)
            }
            AmbiguousOffset::Gap { .. } => Resolution::Gap,
        })
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let time = self.time.checked_add(SignedDuration::from_secs(seconds));
        self.at(time).ok()
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.time.cmp(&other.time)
    }
}
