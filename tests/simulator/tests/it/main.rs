//! The simulator does what Protime's documentation states, seen over HTTP. The marks (`§4: ...`) name the facts of the
//! documentation that a test asserts, from which `facts.py` makes FACTS.md.

mod access;
mod conventions;
mod deltas;
mod documentation;
mod entities;
mod filters;
mod lists;
mod protime;
mod readme;
mod references;
mod webhooks;
mod writes;
