//! The functions that programs may call.

use jaq_core::box_iter::box_once;
use jaq_core::data::HasLut;
use jaq_core::native::{Filter, Fun, bome, run, v};
use jaq_core::{Cv, DataT, Error, Exn, Lut, RunPtr, ValR};
use jaq_json::Val;
use jiff::Span;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Moment;
use super::locate::{self, Seen};

/// Functions of jaq's library that reach outside the sandbox. They are replaced.
const REPLACED: [&str; 4] = ["env", "halt", "debug_empty", "stderr_empty"];

/// Names our data types to jaq.
pub(super) struct JaqTypes;

/// The data that functions can reach while a program runs.
#[derive(Clone)]
pub(super) struct Environment<'a> {
    pub(super) lut: &'a Lut<JaqTypes>,
    pub(super) moment: Option<&'a Moment>,
    pub(super) seen: Option<&'a Seen>,
}

impl DataT for JaqTypes {
    type V<'a> = Val;
    type Data<'a> = Environment<'a>;
}

impl<'a> HasLut<'a, JaqTypes> for Environment<'a> {
    fn lut(&self) -> &'a Lut<JaqTypes> {
        self.lut
    }
}

/// The functions of standard jq. Those that reach outside the sandbox are left out or made harmless.
pub(super) fn standard_functions() -> impl Iterator<Item = Fun<JaqTypes>> {
    let silent: RunPtr<JaqTypes> = |_| Box::new(std::iter::empty());
    let no_halt: RunPtr<JaqTypes> =
        |_| failure("halt is not available in a transformer; use error(\"...\")");
    let harmless: [Filter<RunPtr<JaqTypes>>; 3] = [
        ("debug_empty", v(0), silent),
        ("stderr_empty", v(0), silent),
        ("halt", v(1), no_halt),
    ];
    jaq_core::funs()
        .chain(jaq_std::funs())
        .chain(jaq_json::funs())
        .filter(|(name, ..)| !REPLACED.contains(name))
        .chain(harmless.map(run::<JaqTypes>))
}

/// Date functions around the scheduled time. They return `YYYY-MM-DD` in the connection's time zone.
pub(super) fn date_functions() -> Vec<Fun<JaqTypes>> {
    let functions: [Filter<RunPtr<JaqTypes>>; 8] = [
        ("today", v(0), |cv| date(&cv, Ok)),
        ("start_of_month", v(0), |cv| {
            date(&cv, |today| Ok(today.first_of_month()))
        }),
        ("end_of_month", v(0), |cv| {
            date(&cv, |today| Ok(today.last_of_month()))
        }),
        ("start_of_year", v(0), |cv| {
            date(&cv, |today| Ok(today.first_of_year()))
        }),
        ("start_of_month", v(1), |mut cv| {
            let count = cv.0.pop_var();
            date(&cv, |today| Ok(months(today, &count)?.first_of_month()))
        }),
        ("end_of_month", v(1), |mut cv| {
            let count = cv.0.pop_var();
            date(&cv, |today| Ok(months(today, &count)?.last_of_month()))
        }),
        ("days", v(1), |mut cv| {
            let count = cv.0.pop_var();
            date(&cv, |today| {
                shifted(today, Span::new().try_days(integer(&count)?))
            })
        }),
        ("months", v(1), |mut cv| {
            let count = cv.0.pop_var();
            date(&cv, |today| months(today, &count))
        }),
    ];
    functions.into_iter().map(run::<JaqTypes>).collect()
}

/// Stores which part of the program raised the input, then raises it again.
pub(super) fn handler() -> Fun<JaqTypes> {
    let handle: RunPtr<JaqTypes> = |mut cv| {
        let part = cv.0.pop_var();
        if let (Some(seen), Ok(part)) = (cv.0.data().seen, integer(&part)) {
            locate::see(seen, &cv.1, usize::try_from(part).unwrap_or_default());
        }
        box_once(Err(Exn::from(Error::new(cv.1))))
    };
    run::<JaqTypes>((locate::HANDLER, v(1), handle))
}

fn date<'a>(
    cv: &Cv<'a, JaqTypes>,
    of_today: impl FnOnce(Date) -> Result<Date, Error<Val>>,
) -> jaq_core::ValXs<'a, Val> {
    let dated = |moment: &Moment| -> ValR<Val> {
        let zone = TimeZone::get(&moment.time_zone);
        let zone = zone.map_err(|_| Error::str("the connection's time zone is not known"))?;
        let today = moment.now.to_zoned_datetime(zone).date();
        of_today(today).map(|date| Val::from(date.to_string()))
    };
    bome(cv.0.data().moment.map_or_else(
        || Err(Error::str("no schedule to take the date from")),
        dated,
    ))
}

fn integer(value: &Val) -> Result<i64, Error<Val>> {
    use jaq_std::ValT as _;
    let integer = value.as_isize().and_then(|count| i64::try_from(count).ok());
    integer.ok_or_else(|| Error::str("a number of days or months has to be whole"))
}

/// The date `count` months later. A day that the month lacks becomes its last day.
fn months(today: Date, count: &Val) -> Result<Date, Error<Val>> {
    shifted(today, Span::new().try_months(integer(count)?))
}

fn shifted(date: Date, by: Result<Span, jiff::Error>) -> Result<Date, Error<Val>> {
    by.and_then(|span| date.checked_add(span))
        .map_err(|_| Error::str("the date is out of range"))
}

fn failure<'a>(message: &str) -> jaq_core::ValXs<'a, Val> {
    box_once(Err(Exn::from(Error::str(message))))
}
