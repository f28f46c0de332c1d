//! Finds the documented operation for a request.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::answer::Answer;
use crate::documentation::{Entity, Kind, Method, Operation, documentation};
use crate::state::State;
use crate::{delta, list, usage, write};

/// An authorised request to the API.
pub(crate) struct Call {
    /// The path as on the request line.
    pub(crate) path: String,
    /// Decoded names and values, in order.
    pub(crate) query: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Whether the `Content-Type` says JSON.
    pub(crate) is_json: bool,
    /// Whether a PUT creates a record that does not exist.
    pub(crate) is_upsert: bool,
    pub(crate) client_id: String,
    /// The decoded values of the path parameters.
    pub(crate) parameters: Vec<String>,
}

impl Call {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn parameter(&self, index: usize) -> Option<&str> {
        self.parameters.get(index).map(String::as_str)
    }

    pub(crate) fn last_parameter(&self) -> &str {
        self.parameters.last().map_or("", String::as_str)
    }
}

/// The target of a path below the API's version.
pub(crate) enum Route {
    Operation(&'static Entity, &'static Operation, Vec<String>),
    /// The poll of a started delta.
    Delta(&'static Entity, &'static Operation),
    /// A known path without such a method.
    WrongMethod,
    Unknown,
}

pub(crate) fn route(method: Method, path: &str) -> Route {
    let mut known = false;
    for entity in &documentation().entities {
        for operation in &entity.operations {
            if operation.kind == Kind::Delta {
                if operation.delta_path() == Some(path) {
                    return Route::Delta(entity, operation);
                }
            } else if let Some(parameters) = parameters(&operation.path, path) {
                if !allowed(operation, &parameters) {
                    continue;
                }
                if operation.method == method {
                    return Route::Operation(entity, operation, parameters);
                }
                known = true;
            }
        }
    }
    if known {
        Route::WrongMethod
    } else {
        Route::Unknown
    }
}

/// Performs the operation of a route.
pub(crate) fn perform(state: &mut State, route: Route, mut call: Call) -> Answer {
    match route {
        Route::Operation(entity, operation, parameters) => {
            call.parameters = parameters;
            call.is_upsert = operation.kind == Kind::Upsert;
            match operation.kind {
                Kind::List | Kind::ListForPerson => list::list(state, entity, operation, &call),
                Kind::GetById => list::get(state, entity, operation, &call),
                Kind::Get => usage::read(state, entity, operation, &call),
                _ => write::write(state, entity, operation, &call),
            }
        }
        Route::Delta(entity, _) => {
            let client_id = call.client_id.clone();
            delta::poll(state, entity, &client_id, &call)
        }
        Route::WrongMethod => Answer::error(
            405,
            "MethodNotAllowed",
            "The resource does not support this method.",
        ),
        Route::Unknown => {
            let name = call
                .path
                .strip_prefix(documentation().base_path.as_str())
                .unwrap_or_default()
                .trim_start_matches('/');
            list::list_unknown(state, name)
                .unwrap_or_else(|| Answer::error(404, "NotFound", "There is no such resource."))
        }
    }
}

fn allowed(operation: &Operation, parameters: &[String]) -> bool {
    operation
        .path_parameters()
        .zip(parameters)
        .all(|(name, value)| {
            operation
                .path_values
                .get(name)
                .is_none_or(|values| values.contains(value))
        })
}

/// The values of a template's parameters. `None` if the path does not fit it.
fn parameters(template: &str, path: &str) -> Option<Vec<String>> {
    let (wanted, given): (Vec<&str>, Vec<&str>) =
        (template.split('/').collect(), path.split('/').collect());
    if wanted.len() != given.len() {
        return None;
    }
    let mut values = Vec::new();
    for (wanted, given) in wanted.iter().zip(given) {
        match wanted
            .split_once('{')
            .and_then(|(prefix, rest)| Some((prefix, rest.split_once('}')?.1)))
        {
            Some((prefix, suffix)) => {
                let value = given.strip_prefix(prefix)?.strip_suffix(suffix)?;
                values.push(percent_decode_str(value).decode_utf8().ok()?.into_owned());
            }
            None if *wanted == given => {}
            None => return None,
        }
    }
    Some(values)
}

/// The body as JSON, or the documented answer to a body that is not JSON.
pub(crate) fn body_json(call: &Call) -> Result<Value, Answer> {
    if !call.is_json {
        let error = "the content type is not application/json".to_owned();
        return Err(Answer::not_valid(&[error]));
    }
    serde_json::from_slice(&call.body)
        .map_err(|_| Answer::not_valid(&["the body is not JSON".to_owned()]))
}
