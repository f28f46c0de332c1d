//! The paths of all pages.

use std::sync::Arc;

use axum::Router;
use axum::http::header::CONTENT_TYPE;
use axum::middleware::from_fn_with_state;
use axum::response::IntoResponse;
use axum::routing::{MethodRouter, get, post};

use super::security::guard;
use super::{Console, changes, pages};

pub(super) fn router(console: &Arc<Console>) -> Router {
    let mut pages_of_paths: Vec<(&str, MethodRouter<Arc<Console>>)> = vec![
        ("/", get(pages::overview::show)),
        ("/connection", get(pages::connection::show)),
        // These change nothing, but send a request to the function or to Protime.
        ("/check", post(pages::connection::check)),
        ("/preview", post(pages::connection::preview)),
        ("/run", get(pages::run::show)),
        ("/parked", get(pages::parked::list)),
        ("/message", get(pages::parked::message)),
        ("/try", get(pages::trial::form).post(pages::trial::outcome)),
        ("/entities", get(pages::entities::list)),
        ("/entity", get(pages::entities::show)),
        ("/console.css", get(style_sheet)),
        ("/console.js", get(script)),
        ("/icon.svg", get(icon)),
    ];
    if console.allows_changes {
        pages_of_paths.push(("/ask", get(changes::ask)));
        pages_of_paths.push(("/do", post(changes::make)));
    }
    let mut router = Router::new();
    for (path, route) in pages_of_paths {
        router = router.route(&format!("{}{path}", console.guard.base()), route);
    }
    router
        .fallback(pages::missing)
        .layer(from_fn_with_state(console.clone(), guard))
        .with_state(console.clone())
}

async fn style_sheet() -> impl IntoResponse {
    let css = include_str!("../../templates/console.css");
    ([(CONTENT_TYPE, "text/css; charset=utf-8")], css)
}

async fn script() -> impl IntoResponse {
    let script = include_str!("../../templates/console.js");
    ([(CONTENT_TYPE, "text/javascript; charset=utf-8")], script)
}

async fn icon() -> impl IntoResponse {
    let icon = include_str!("../../templates/icon.svg");
    ([(CONTENT_TYPE, "image/svg+xml")], icon)
}
