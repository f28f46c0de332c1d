//! Selection keeps the bytes of the source, and nothing that no path names.

use proptest::collection::vec;
use proptest::prelude::*;
use protime::catalogue::catalogue;
use protime::{ALWAYS_KEPT, Fields};
use serde_json::Value;

/// JSON with its spelling.
#[derive(Debug, Clone)]
enum Written {
    Scalar(&'static str),
    /// Each member: its name, the text of the key with the colon, and the value.
    Object(Vec<(&'static str, String, Written)>),
    List(Vec<Written>),
}

/// One step of a path: a member's name, or `[]`.
type Path = Vec<&'static str>;

const ITEM: &str = "[]";
const NAMES: [&str; 6] = ["id", "status", "a", "b", "é", "ab"];
const SCALARS: [&str; 9] = [
    "null",
    "true",
    "12.50",
    "-1e3",
    "12345678901234567890",
    r#""""#,
    r#""a\"]}\\""#,
    r#""{\"a\":1}""#,
    r#""é 💶 \ud83d""#,
];

impl Written {
    fn text(&self) -> String {
        match self {
            Self::Scalar(text) => (*text).to_owned(),
            Self::Object(members) => {
                let members = members.iter();
                let texts: Vec<_> = members
                    .map(|(_, key, value)| format!("\n {key}{}", value.text()))
                    .collect();
                format!("{{{} }}", texts.join(" ,"))
            }
            Self::List(items) => {
                let texts: Vec<_> = items.iter().map(Self::text).collect();
                format!("[ {}\t]", texts.join(", "))
            }
        }
    }

    /// The kept JSON, given the remaining paths. `None` if nothing is kept here.
    fn kept(&self, paths: &[&[&str]]) -> Option<String> {
        if paths.is_empty() {
            return None;
        }
        if paths.iter().any(|path| path.is_empty()) {
            return Some(self.text());
        }
        let below = |step: &str| -> Vec<&[&str]> {
            let paths = paths.iter().filter(|path| path[0] == step);
            paths.map(|path| &path[1..]).collect()
        };
        match self {
            Self::Scalar(_) => None,
            Self::Object(members) => {
                if paths.iter().all(|path| path[0] == ITEM) {
                    return None;
                }
                let kept: Vec<String> = members
                    .iter()
                    .filter_map(|(name, key, value)| {
                        Some(format!("{key}{}", value.kept(&below(name))?))
                    })
                    .collect();
                Some(format!("{{{}}}", kept.join(",")))
            }
            Self::List(items) => {
                let below = below(ITEM);
                if below.is_empty() {
                    return None;
                }
                let kept: Vec<String> = items.iter().filter_map(|item| item.kept(&below)).collect();
                Some(format!("[{}]", kept.join(",")))
            }
        }
    }
}

fn key(name: &str, how: u8) -> String {
    let first = name.chars().next().unwrap();
    match how {
        0 => format!(r#""{name}":"#),
        1 => format!(r#""{name}" : "#),
        _ => format!(
            "\"\\u{:04x}{}\":",
            u32::from(first),
            &name[first.len_utf8()..]
        ),
    }
}

fn written() -> impl Strategy<Value = Written> {
    let scalar = prop::sample::select(&SCALARS[..]).prop_map(Written::Scalar);
    scalar.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Written::List),
            object_of(inner),
        ]
    })
}

fn object_of(inner: impl Strategy<Value = Written>) -> impl Strategy<Value = Written> {
    // A name can occur twice.
    vec((prop::sample::select(&NAMES[..]), 0..3_u8, inner), 0..6).prop_map(|members| {
        let members = members.into_iter();
        Written::Object(
            members
                .map(|(name, how, value)| (name, key(name, how), value))
                .collect(),
        )
    })
}

fn path() -> impl Strategy<Value = Path> {
    vec((prop::sample::select(&NAMES[..]), 0..3_usize), 1..4).prop_map(|segments| {
        segments
            .into_iter()
            .flat_map(|(name, lists)| std::iter::once(name).chain(std::iter::repeat_n(ITEM, lists)))
            .collect()
    })
}

fn joined(path: &Path) -> String {
    path.join(".").replace(".[]", "[]")
}

proptest! {
    #[test]
    fn what_is_kept_is_the_source_by_bytes_and_nothing_else_is_there(
        record in object_of(written()),
        paths in vec(path(), 0..5),
    ) {
        let fields = Fields::new(paths.iter().map(joined)).unwrap();
        let always = ALWAYS_KEPT.iter().map(std::slice::from_ref);
        let all: Vec<&[&str]> = paths.iter().map(Vec::as_slice).chain(always).collect();
        let kept = fields.of_records().select(&record.text());
        prop_assert_eq!(&kept, &record.kept(&all).unwrap());
        let _: &serde_json::value::RawValue = serde_json::from_str(&kept).unwrap();
    }

    #[test]
    fn what_came_before_does_not_change_what_is_kept(
        records in vec(object_of(written()), 0..6),
        paths in vec(path(), 0..5),
    ) {
        let fields = Fields::new(paths.iter().map(joined)).unwrap();
        let always = ALWAYS_KEPT.iter().map(std::slice::from_ref);
        let all: Vec<&[&str]> = paths.iter().map(Vec::as_slice).chain(always).collect();
        let mut selector = fields.of_records();
        for record in &records {
            prop_assert_eq!(selector.select(&record.text()), record.kept(&all).unwrap());
        }
    }

    #[test]
    fn of_a_change_its_type_stays_and_paths_count_inside_of_data(record in object_of(written()), paths in vec(path(), 0..5)) {
        let fields = Fields::new(paths.iter().map(joined)).unwrap();
        let record = record.text();
        let change = format!(r#"{{"changeType": "Delete", "by": "Ann", "data": {record}}}"#);
        let kept = format!(r#"{{"changeType": "Delete","data": {}}}"#, fields.of_records().select(&record));
        prop_assert_eq!(fields.of_changes().select(&change), kept);
    }

    #[test]
    fn no_path_makes_it_panic(path in ".{0,40}", depth in 0..100_usize) {
        let _ = Fields::new([path.clone()]);
        let _ = Fields::new([format!("{path}{}", "[]".repeat(depth))]);
    }

    #[test]
    fn no_text_makes_it_panic_and_none_shows_what_no_path_names(text in r#"[\[\]{}:," \\a1]{0,30}"#) {
        let kept = Fields::new(["b"]).unwrap().of_records().select(&text);
        prop_assert!(!kept.contains('1'), "{}", kept);
    }
}

#[test]
fn an_object_by_its_name_is_whole_and_what_has_no_properties_has_nothing_to_keep() {
    let fields = Fields::new(["person", "levels", "reason.id"]).unwrap();
    let record =
        r#"{"levels": [ 1, {"x": 2} ], "person": { "id":1 , "é":"" }, "reason": null, "x": 1}"#;
    let kept = r#"{"levels": [ 1, {"x": 2} ],"person": { "id":1 , "é":"" }}"#;
    assert_eq!(fields.of_records().select(record), kept);
    for other in ["1", "null", r#""id""#, r#"[{"id": 1}]"#] {
        assert_eq!(fields.of_records().select(other), "{}");
    }
}

#[test]
fn records_can_have_any_number_of_names_that_are_never_the_same() {
    let fields = Fields::new(["kept"]).unwrap();
    let record = |number: usize| {
        let names = (0..200).map(|index| {
            if index == number {
                r#""kept":1"#.to_owned()
            } else {
                format!(r#""n{}":{{"kept":2}}"#, number * 200 + index)
            }
        });
        format!("{{{}}}", names.collect::<Vec<_>>().join(","))
    };
    let mut selector = fields.of_records();
    for number in 0..200 {
        assert_eq!(selector.select(&record(number)), r#"{"kept":1}"#);
    }
}

#[test]
fn the_order_of_paths_and_repeats_do_not_matter() {
    let (one, other) = (["b", "a", "b", "a.c"], ["a", "a.c", "b", "b"]);
    assert_eq!(
        Fields::new(one).unwrap().paths(),
        Fields::new(other).unwrap().paths()
    );
    let record = r#"{"a": {"c": 1, "d": 2}, "b": 3}"#;
    assert_eq!(
        Fields::new(one).unwrap().of_records().select(record),
        r#"{"a": {"c": 1, "d": 2},"b": 3}"#
    );
}

#[test]
fn a_path_that_names_no_property_says_what_is_needed() {
    let wrong = [
        "",
        " ",
        ".",
        "a.",
        ".a",
        "a..b",
        "[]",
        "a.[]",
        "a[0]",
        "a[",
        "a]b",
        "a[]b",
        &"a.".repeat(40),
    ];
    for path in wrong {
        let error = Fields::new([path]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("\"{path}\": ")), "{error}");
        assert!(
            error.contains("needs") || error.contains("stands behind"),
            "{error}"
        );
    }
}

#[test]
fn only_what_no_page_documents_is_warned_about_with_the_nearest_name() {
    let warnings = |entity: &str, path: &str| {
        let entity = catalogue().entity(entity).unwrap();
        Fields::new([path]).unwrap().warnings(entity)
    };
    for entity in catalogue().entities() {
        for property in &entity.properties {
            // Historical fields have the name of their category.
            let path = property.name.replace("{category}", "department");
            assert_eq!(warnings(entity.name, &path), [""; 0], "{}", entity.name);
            let whole = path.split(['.', '[']).next().unwrap();
            assert_eq!(warnings(entity.name, whole), [""; 0], "{}", entity.name);
        }
    }
    for known in [
        "id",
        "status",
        "person.externalReferences.@badge-number",
        "activityLevels[]",
    ] {
        assert_eq!(warnings("clockings", known), [""; 0]);
    }
    assert_eq!(warnings("departments", "name.translations.nl"), [""; 0]);
    assert_eq!(warnings("external-references", "anything"), [""; 0]);
    for (path, meant) in [
        ("persn.id", "person.id"),
        ("Date", "date"),
        ("activitylevels.level", "activityLevels[].level"),
        ("geolocatoin", "geolocation"),
    ] {
        let [warning] = &warnings("clockings", path)[..] else {
            panic!("{path}")
        };
        assert!(
            warning.contains(&format!("`{path}`"))
                && warning.contains(&format!("did you mean `{meant}`?")),
            "{warning}"
        );
    }
    let [warning] = &warnings("clockings", "salary")[..] else {
        panic!("salary")
    };
    assert!(
        warning.contains("`salary`") && warning.contains("not documented"),
        "{warning}"
    );
}

#[test]
fn what_is_selected_reads_as_what_was_meant() {
    let fields = Fields::new(["person.id", "date"]).unwrap();
    let record = r#"{"changeVersion":"0A","id":5001,"person":{"id":101,"name":"Ann"},"date":"2026-02-02","kind":"InOut","status":"Active"}"#;
    let kept: Value = serde_json::from_str(&fields.of_records().select(record)).unwrap();
    let expected = serde_json::json!({"changeVersion": "0A", "id": 5001, "person": {"id": 101}, "date": "2026-02-02", "status": "Active"});
    assert_eq!(kept, expected);
}

/// The classification is our own. A change of the catalogue must not alter it unnoticed.
#[test]
fn these_properties_are_personal_data() {
    let entities = catalogue().entities().iter();
    let marked: Vec<String> = entities
        .flat_map(|entity| {
            let names = entity.personal_properties();
            names.map(move |name| format!("{} {name}", entity.name))
        })
        .collect();
    insta::assert_snapshot!(marked.join("\n"));
}
