//! The evaluation, as `jsonpath.go` does it.

use okra_expr::Value;
use serde_json::Value as Json;

use super::compare::compare;
use super::{Filter, Node, Part};

/// How many values a search may go over: a document of 1 MiB has far fewer.
const MAX_WORK: usize = 1_000_000;

/// A value: of the document, or of the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Item<'a> {
    /// A value of the document.
    Json(&'a Json),
    /// A text of the path.
    Text(&'a str),
    /// An integer of the path: Go's `int`.
    Int(i64),
    /// A number of the path.
    Float(f64),
    /// A truth value of the path.
    Bool(bool),
    /// A byte of a string.
    Byte(u8),
}

/// An error, and what Go returns beside it: a filter that only asks whether something exists looks at that.
pub(super) struct Failure<'a> {
    pub(super) message: String,
    pub(super) beside: Vec<Item<'a>>,
}

type Found<'a> = Result<Vec<Item<'a>>, Failure<'a>>;

fn fail<'a, T>(beside: &[Item<'a>], message: impl Into<String>) -> Result<T, Failure<'a>> {
    Err(Failure { message: message.into(), beside: beside.to_vec() })
}

/// One search: the marks that `range` and `end` set on the way, and the work done.
#[derive(Default)]
struct Search {
    begin_range: usize,
    in_range: usize,
    end_range: usize,
    last_end: Option<usize>,
    work: usize,
}

/// Every value that a template finds, in order.
pub(super) fn find<'a>(nodes: &'a [Node], data: &'a Json) -> Result<Vec<Item<'a>>, String> {
    let mut search = Search::default();
    search.find(nodes, 0, Item::Json(data)).map_err(|failure| failure.message)
}

impl Search {
    /// `FindResults`: from the node at `from` on.
    fn find<'a>(&mut self, nodes: &'a [Node], from: usize, data: Item<'a>) -> Found<'a> {
        let mut all = Vec::new();
        let mut index = from;
        while let Some(node) = nodes.get(index) {
            let found = self.walk(vec![data], node)?;
            if self.end_range > 0 && self.end_range <= self.in_range {
                self.end_range -= 1;
                self.last_end = Some(index);
                break;
            }
            if self.begin_range > 0 {
                self.begin_range -= 1;
                self.in_range += 1;
                for item in &found {
                    all.extend(self.find(nodes, index + 1, *item)?);
                }
                if found.is_empty() {
                    // Nothing to repeat, but the end has to be found.
                    self.find(nodes, index + 1, Item::Json(&Json::Null))?;
                }
                self.in_range -= 1;
                if let Some(end) = self.last_end.filter(|end| *end > index) {
                    index = end;
                }
            } else {
                all.extend(found);
            }
            index += 1;
        }
        Ok(all)
    }

    fn spend<'a>(&mut self, work: usize) -> Result<(), Failure<'a>> {
        self.work = self.work.saturating_add(work);
        if self.work > MAX_WORK { fail(&[], "the JSONPath takes too much work") } else { Ok(()) }
    }

    fn walk<'a>(&mut self, input: Vec<Item<'a>>, node: &'a Node) -> Found<'a> {
        self.spend(1 + input.len())?;
        let found = match node {
            Node::List(nodes) => return self.list(input, nodes),
            Node::Text(text) => vec![Item::Text(text)],
            Node::Int(value) => vec![Item::Int(*value); input.len()],
            Node::Float(value) => vec![Item::Float(*value); input.len()],
            Node::Bool(value) => vec![Item::Bool(*value); input.len()],
            Node::Field(name) => return field(&input, name),
            Node::Array(parts) => return array(&input, *parts),
            Node::Wildcard => input.iter().flat_map(children).collect(),
            Node::Recursive => {
                let mut found = Vec::new();
                self.descend(&input, &mut found)?;
                found
            }
            Node::Union(lists) => return self.union(&input, lists),
            Node::Filter(filter) => return self.filter(&input, filter),
            Node::Identifier(name) => return self.identifier(input, name),
        };
        self.spend(found.len())?;
        Ok(found)
    }

    fn list<'a>(&mut self, input: Vec<Item<'a>>, nodes: &'a [Node]) -> Found<'a> {
        nodes.iter().try_fold(input, |items, node| self.walk(items, node))
    }

    fn union<'a>(&mut self, input: &[Item<'a>], lists: &'a [Vec<Node>]) -> Found<'a> {
        let mut all = Vec::new();
        for list in lists {
            match self.list(input.to_vec(), list) {
                Ok(found) => all.extend(found),
                Err(failure) => return fail(input, failure.message),
            }
        }
        Ok(all)
    }

    fn identifier<'a>(&mut self, input: Vec<Item<'a>>, name: &str) -> Found<'a> {
        match name {
            "range" => {
                self.begin_range += 1;
                Ok(input)
            }
            "end" if self.in_range > 0 => {
                self.end_range += 1;
                Ok(Vec::new())
            }
            "end" => fail(&[], "not in range, nothing to end"),
            _ => fail(&input, format!("unrecognized identifier {name}")),
        }
    }

    /// As deep as the document, which serde_json bounds.
    fn descend<'a>(&mut self, input: &[Item<'a>], found: &mut Vec<Item<'a>>) -> Result<(), Failure<'a>> {
        for item in input {
            let inner = children(item);
            self.spend(1 + inner.len())?;
            if !inner.is_empty() {
                found.push(*item);
                self.descend(&inner, found)?;
            }
        }
        Ok(())
    }

    fn filter<'a>(&mut self, input: &[Item<'a>], filter: &'a Filter) -> Found<'a> {
        let mut passed = Vec::new();
        for item in input {
            let Item::Json(Json::Array(elements)) = item else {
                let shown = item.value();
                let shown = if matches!(shown, Value::Nil) { "<nil>".to_owned() } else { shown.to_string() };
                return fail(input, format!("{shown} is not array or slice and cannot be filtered"));
            };
            for element in elements.iter().map(Item::Json) {
                let left = self.list(vec![element], &filter.left);
                if filter.operator == "exists" {
                    let found = left.unwrap_or_else(|failure| failure.beside);
                    self.spend(0)?;
                    passed.extend((!found.is_empty()).then_some(element));
                    continue;
                }
                let left = single(left, input)?;
                let Some(left) = left else { continue };
                let right = single(self.list(vec![element], &filter.right), input)?;
                let Some(right) = right else { continue };
                match compare(&filter.operator, left, right) {
                    Ok(true) => passed.push(element),
                    Ok(false) => {}
                    Err(message) => return fail(&passed, message),
                }
            }
        }
        Ok(passed)
    }
}

/// One side of a comparison.
fn single<'a>(found: Found<'a>, input: &[Item<'a>]) -> Result<Option<Item<'a>>, Failure<'a>> {
    match found {
        Err(failure) => fail(input, failure.message),
        Ok(found) if found.len() > 1 => fail(input, "can only compare one element at a time"),
        Ok(found) => Ok(found.into_iter().next()),
    }
}

/// Everything directly within a value; of a string, its bytes.
fn children<'a>(item: &Item<'a>) -> Vec<Item<'a>> {
    match item {
        Item::Json(Json::Array(items)) => items.iter().map(Item::Json).collect(),
        Item::Json(Json::Object(object)) => {
            let mut members: Vec<_> = object.iter().collect();
            members.sort_by_key(|(name, _)| *name);
            members.into_iter().map(|(_, member)| Item::Json(member)).collect()
        }
        Item::Json(Json::String(text)) => text.bytes().map(Item::Byte).collect(),
        Item::Text(text) => text.bytes().map(Item::Byte).collect(),
        _ => Vec::new(),
    }
}

fn field<'a>(input: &[Item<'a>], name: &str) -> Found<'a> {
    let member = |item: &Item<'a>| match item {
        Item::Json(Json::Object(object)) => object.get(name).map(Item::Json),
        _ => None,
    };
    let found: Vec<Item<'a>> = input.iter().filter_map(member).collect();
    if found.is_empty() && !input.is_empty() { fail(&[], format!("{name} is not found")) } else { Ok(found) }
}

fn array<'a>(input: &[Item<'a>], parts: [Part; 3]) -> Found<'a> {
    let [start, end, step] = parts;
    let mut found = Vec::new();
    for item in input {
        let items = match item {
            Item::Json(Json::Null) => continue,
            Item::Json(Json::Array(items)) => items,
            other => return fail(input, format!("{} is not array or slice", other.value().type_name())),
        };
        let length = i64::try_from(items.len()).unwrap_or(i64::MAX);
        let from = if !start.known {
            0
        } else if start.value < 0 {
            start.value + length
        } else {
            start.value
        };
        let to = match end {
            Part { known: false, .. } => length,
            Part { value, derived, .. } if value < 0 || value == 0 && derived => value + length,
            Part { value, .. } => value,
        };
        // Nothing was asked for: Go ends here, whatever else there is.
        if from == to {
            return Ok(found);
        }
        let out_of_bounds = |index| format!("array index out of bounds: index {index}, length {length}");
        if from >= length || from < 0 {
            return fail(input, out_of_bounds(from));
        }
        if to > length || to < 0 {
            return fail(input, out_of_bounds(to - 1));
        }
        if from > to {
            return fail(input, format!("starting index {from} is greater than ending index {to}"));
        }
        let step = match step {
            Part { known: true, value, .. } if value <= 0 => return fail(input, "step must be > 0"),
            Part { known: true, value, .. } => usize::try_from(value).unwrap_or(usize::MAX),
            Part { .. } => 1,
        };
        let range = usize::try_from(from).unwrap_or(0)..usize::try_from(to).unwrap_or(0);
        found.extend(items.get(range).unwrap_or_default().iter().step_by(step).map(Item::Json));
    }
    Ok(found)
}
