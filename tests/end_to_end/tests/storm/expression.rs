//! Conditions and updates in the expression language of `DynamoDB`, as far as the connector uses it.

use serde_json::{Map, Value, json};
use winnow::ascii::{space0, space1};
use winnow::combinator::{alt, delimited, opt, preceded, separated};
use winnow::prelude::*;
use winnow::token::take_while;

pub(crate) type Item = Map<String, Value>;

type Path = Vec<String>;

enum Operand {
    Path(Path),
    Size(Path),
    Value(String),
}

enum Condition {
    Or(Vec<Condition>),
    And(Vec<Condition>),
    Not(Box<Condition>),
    Exists(Path, bool),
    Compare(Operand, &'static str, Operand),
    In(Operand, Vec<Operand>),
}

enum Term {
    Value(String),
    Path(Path),
    IfNotExists(Path, Box<Term>),
    Sum(Box<Term>, Box<Term>),
}

struct Update {
    set: Vec<(Path, Term)>,
    remove: Vec<Path>,
}

/// The names and values that a request's placeholders stand for.
pub(crate) struct Placeholders<'a> {
    pub(crate) names: &'a Value,
    pub(crate) values: &'a Value,
}

fn word<'i>(input: &mut &'i str) -> ModalResult<&'i str> {
    take_while(1.., |c: char| {
        c.is_ascii_alphanumeric() || "_#:".contains(c)
    })
    .parse_next(input)
}

fn path(input: &mut &str) -> ModalResult<Path> {
    separated(1.., word.map(str::to_owned), '.').parse_next(input)
}

fn of<'i>(name: &'static str) -> impl FnMut(&mut &'i str) -> ModalResult<Path> {
    move |input| preceded(name, delimited(('(', space0), path, (space0, ')'))).parse_next(input)
}

fn operand(input: &mut &str) -> ModalResult<Operand> {
    let plain = path.map(|path| match path.as_slice() {
        [value] if value.starts_with(':') => Operand::Value(value.clone()),
        _ => Operand::Path(path),
    });
    alt((of("size").map(Operand::Size), plain)).parse_next(input)
}

fn condition(input: &mut &str) -> ModalResult<Condition> {
    separated(1.., conjunction, (space1, "OR", space1))
        .map(Condition::Or)
        .parse_next(input)
}

fn conjunction(input: &mut &str) -> ModalResult<Condition> {
    separated(1.., negation, (space1, "AND", space1))
        .map(Condition::And)
        .parse_next(input)
}

fn negation(input: &mut &str) -> ModalResult<Condition> {
    let not = preceded(("NOT", space1), primary).map(|inner| Condition::Not(Box::new(inner)));
    alt((not, primary)).parse_next(input)
}

fn primary(input: &mut &str) -> ModalResult<Condition> {
    alt((
        delimited(('(', space0), condition, (space0, ')')),
        of("attribute_not_exists").map(|path| Condition::Exists(path, false)),
        of("attribute_exists").map(|path| Condition::Exists(path, true)),
        comparison,
    ))
    .parse_next(input)
}

fn comparison(input: &mut &str) -> ModalResult<Condition> {
    let left = operand(input)?;
    let list = delimited(
        (space1, "IN", space0, '(', space0),
        separated(1.., operand, (space0, ',', space0)),
        (space0, ')'),
    );
    if let Some(items) = opt(list).parse_next(input)? {
        return Ok(Condition::In(left, items));
    }
    let sign = delimited(space0, alt(("<>", "<=", ">=", "=", "<", ">")), space0);
    let sign = sign.map(|sign: &str| {
        ["<>", "<=", ">=", "=", "<", ">"]
            .into_iter()
            .find(|known| *known == sign)
            .unwrap()
    });
    let (sign, right) = (sign, operand).parse_next(input)?;
    Ok(Condition::Compare(left, sign, right))
}

fn term(input: &mut &str) -> ModalResult<Term> {
    let single = |input: &mut &str| -> ModalResult<Term> {
        let absent = preceded(
            "if_not_exists",
            delimited(
                ('(', space0),
                (path, (space0, ',', space0), term),
                (space0, ')'),
            ),
        );
        let absent = absent.map(|(path, _, term)| Term::IfNotExists(path, Box::new(term)));
        let plain = path.map(|path| match path.as_slice() {
            [value] if value.starts_with(':') => Term::Value(value.clone()),
            _ => Term::Path(path),
        });
        alt((absent, plain)).parse_next(input)
    };
    let first = single(input)?;
    let more = opt(preceded((space0, '+', space0), single)).parse_next(input)?;
    Ok(match more {
        Some(more) => Term::Sum(Box::new(first), Box::new(more)),
        None => first,
    })
}

fn update(input: &mut &str) -> ModalResult<Update> {
    let assignment = (path, (space0, '=', space0), term).map(|(path, _, term)| (path, term));
    let set = preceded(
        ("SET", space1),
        separated(1.., assignment, (space0, ',', space0)),
    );
    let remove = preceded(
        (space0, "REMOVE", space1),
        separated(1.., path, (space0, ',', space0)),
    );
    let (set, remove): (Option<Vec<_>>, Option<Vec<_>>) =
        (opt(set), opt(remove)).parse_next(input)?;
    Ok(Update {
        set: set.unwrap_or_default(),
        remove: remove.unwrap_or_default(),
    })
}

impl Placeholders<'_> {
    fn name<'a>(&'a self, name: &'a str) -> &'a str {
        if name.starts_with('#') {
            self.names[name]
                .as_str()
                .unwrap_or_else(|| panic!("{name} has no name"))
        } else {
            name
        }
    }

    fn at<'a>(&self, item: &'a Item, path: &Path) -> Option<&'a Value> {
        let mut value = item.get(self.name(&path[0]))?;
        for name in &path[1..] {
            value = value["M"].get(self.name(name))?;
        }
        Some(value)
    }

    fn operand(&self, item: &Item, operand: &Operand) -> Option<Value> {
        match operand {
            Operand::Path(path) => self.at(item, path).cloned(),
            Operand::Value(name) => Some(self.values[name].clone()),
            Operand::Size(path) => {
                let value = self.at(item, path)?;
                let size = value["M"]
                    .as_object()
                    .map(Map::len)
                    .or(value["S"].as_str().map(str::len));
                Some(json!({"N": size?.to_string()}))
            }
        }
    }

    fn holds(&self, item: &Item, condition: &Condition) -> bool {
        match condition {
            Condition::Or(all) => all.iter().any(|one| self.holds(item, one)),
            Condition::And(all) => all.iter().all(|one| self.holds(item, one)),
            Condition::Not(inner) => !self.holds(item, inner),
            Condition::Exists(path, wanted) => self.at(item, path).is_some() == *wanted,
            Condition::In(left, items) => {
                let left = self.operand(item, left);
                left.is_some() && items.iter().any(|right| self.operand(item, right) == left)
            }
            Condition::Compare(left, sign, right) => {
                let (Some(left), Some(right)) =
                    (self.operand(item, left), self.operand(item, right))
                else {
                    return false;
                };
                match *sign {
                    "=" => left == right,
                    "<>" => left != right,
                    sign => {
                        let number = |value: &Value| {
                            value["N"]
                                .as_str()
                                .and_then(|number| number.parse::<i128>().ok())
                        };
                        let order = match (number(&left), number(&right)) {
                            (Some(left), Some(right)) => left.cmp(&right),
                            _ => left["S"].as_str().cmp(&right["S"].as_str()),
                        };
                        match sign {
                            "<" => order.is_lt(),
                            "<=" => order.is_le(),
                            ">" => order.is_gt(),
                            _ => order.is_ge(),
                        }
                    }
                }
            }
        }
    }

    fn term(&self, item: &Item, term: &Term) -> Value {
        match term {
            Term::Value(name) => self.values[name].clone(),
            Term::Path(path) => self.at(item, path).cloned().expect("the attribute exists"),
            Term::IfNotExists(path, term) => self
                .at(item, path)
                .cloned()
                .unwrap_or_else(|| self.term(item, term)),
            Term::Sum(one, other) => {
                let number = |term| {
                    self.term(item, term)["N"]
                        .as_str()
                        .and_then(|number| number.parse::<i128>().ok())
                        .expect("a number")
                };
                json!({"N": (number(one) + number(other)).to_string()})
            }
        }
    }

    /// Whether a condition holds for an item.
    pub(crate) fn condition(&self, text: &str, item: &Item) -> bool {
        let condition = condition.parse(text);
        self.holds(
            item,
            &condition.unwrap_or_else(|error| panic!("{text}: {error}")),
        )
    }

    /// The item after an update, or `DynamoDB`'s error for a path whose parent is missing.
    pub(crate) fn update(&self, text: &str, item: &Item) -> Result<Item, String> {
        let update = update
            .parse(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"));
        let mut updated = item.clone();
        for (path, term) in &update.set {
            let value = self.term(item, term);
            let (last, parents) = path.split_last().expect("a path");
            let mut place = &mut updated;
            for name in parents {
                let parent = place
                    .get_mut(self.name(name))
                    .and_then(|parent| parent["M"].as_object_mut());
                place = parent.ok_or(
                    "The document path provided in the update expression is invalid for update",
                )?;
            }
            place.insert(self.name(last).to_owned(), value);
        }
        for path in &update.remove {
            let (last, parents) = path.split_last().expect("a path");
            let mut place = Some(&mut updated);
            for name in parents {
                place =
                    place.and_then(|place| place.get_mut(self.name(name))?["M"].as_object_mut());
            }
            if let Some(place) = place {
                place.remove(self.name(last));
            }
        }
        Ok(updated)
    }
}
