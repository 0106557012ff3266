//! Built-ins that take a predicate: they go over a list.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Evaluated, Frame, Machine, Stop, boolean, hashed, operators, string};
use crate::ast::{Application, Id, Op};
use crate::budget::Meter;
use crate::builtins::Builtin;
use crate::error::EvalError;
use crate::types::MapType;
use crate::value::{Key, List, Map, Value};

/// Whether to go on.
enum Then {
    Go,
    End(Value),
}

impl Machine<'_> {
    pub(super) fn builtin(&mut self, application: &Application) -> Evaluated {
        if application.builtin.predicate().is_some() {
            return self.with_predicate(application);
        }
        let mut values = Vec::with_capacity(application.arguments.len());
        for argument in &application.arguments {
            values.push(self.eval(*argument)?);
        }
        Ok(self.function(application.builtin, &values)?)
    }

    fn with_predicate(&mut self, application: &Application) -> Evaluated {
        let mut arguments = application.arguments.iter().copied();
        let collection = self.eval(arguments.next().unwrap_or_default())?;
        if let Value::Text(text) | Value::Bytes(text) = &collection {
            self.meter.values(text.len())?;
        }
        let Some(list) = Self::list(&collection) else {
            return Err(go_length(&collection).into());
        };
        let (predicate, third) = (arguments.next(), arguments.next());
        match application.builtin {
            Builtin::Filter => self.filter(&list, application, predicate),
            Builtin::Map => self.map_over(&list, predicate),
            Builtin::Count | Builtin::One => self.count(&list, application, predicate),
            Builtin::Sum => self.sum(&list, predicate),
            Builtin::GroupBy => self.group(&list, predicate),
            Builtin::SortBy => self.sort_by(&list, predicate, third),
            Builtin::Reduce => self.reduce(&list, predicate, third),
            _ => self.search(&list, application, predicate),
        }
    }

    /// Calls the body with each place in the list, `#` being the element there.
    fn each(
        &mut self,
        list: &List,
        backwards: bool,
        mut body: impl FnMut(&mut Self, Value, usize) -> Result<Then, Stop>,
    ) -> Result<Option<Value>, Stop> {
        let depth = self.frames.len();
        self.frames.push(Frame { item: Value::Nil, index: 0, accumulator: Value::Nil });
        for step in 0..list.len() {
            let index = if backwards { list.len() - 1 - step } else { step };
            let item = list.get(index).unwrap_or(Value::Nil);
            self.meter.steps(1)?;
            if let Some(frame) = self.frames.get_mut(depth) {
                frame.item = item.clone();
                frame.index = index;
            }
            match body(self, item, index) {
                Ok(Then::Go) => {}
                Ok(Then::End(value)) => {
                    self.frames.truncate(depth);
                    return Ok(Some(value));
                }
                Err(stop) => {
                    self.frames.truncate(depth);
                    return Err(stop);
                }
            }
        }
        self.frames.truncate(depth);
        Ok(None)
    }

    /// The predicate's value, or the element where there is no predicate.
    fn judged(&mut self, predicate: Option<Id>, item: Value) -> Evaluated {
        predicate.map_or(Ok(item), |predicate| self.eval(predicate))
    }

    fn search(&mut self, list: &List, application: &Application, predicate: Option<Id>) -> Evaluated {
        let builtin = application.builtin;
        let backwards = matches!(builtin, Builtin::FindLast | Builtin::FindLastIndex);
        let found = self.each(list, backwards, |machine, item, index| {
            let value = machine.judged(predicate, item.clone())?;
            let holds = boolean(&value)?;
            Ok(match builtin {
                Builtin::All if !holds => Then::End(Value::Bool(false)),
                Builtin::None if holds => Then::End(Value::Bool(false)),
                Builtin::Any if holds => Then::End(Value::Bool(true)),
                Builtin::FindIndex | Builtin::FindLastIndex if holds => Then::End(Value::Int(index as i64)),
                Builtin::Find | Builtin::FindLast if holds => {
                    Then::End(application.map.map_or(Ok(item), |map| machine.eval(map))?)
                }
                _ => Then::Go,
            })
        })?;
        if let Some(found) = found {
            return Ok(found);
        }
        match builtin {
            Builtin::All | Builtin::None => Ok(Value::Bool(true)),
            Builtin::Any => Ok(Value::Bool(false)),
            _ if application.throws => Err("reflect: slice index out of range".to_owned().into()),
            _ => Ok(Value::Nil),
        }
    }

    fn filter(&mut self, list: &List, application: &Application, predicate: Option<Id>) -> Evaluated {
        let mut kept = Vec::new();
        self.each(list, false, |machine, item, _| {
            let value = machine.judged(predicate, item.clone())?;
            if boolean(&value)? {
                machine.meter.values(1)?;
                kept.push(application.map.map_or(Ok(item), |map| machine.eval(map))?);
            }
            Ok(Then::Go)
        })?;
        Ok(Meter::built(List::anys(kept))?)
    }

    fn map_over(&mut self, list: &List, predicate: Option<Id>) -> Evaluated {
        let mut mapped = Vec::new();
        self.each(list, false, |machine, item, _| {
            machine.meter.values(1)?;
            mapped.push(machine.judged(predicate, item)?);
            Ok(Then::Go)
        })?;
        Ok(Meter::built(List::anys(mapped))?)
    }

    fn count(&mut self, list: &List, application: &Application, predicate: Option<Id>) -> Evaluated {
        let mut count = 0_i64;
        let threshold = application.threshold;
        self.each(list, false, |machine, item, _| {
            let value = machine.judged(predicate, item)?;
            if boolean(&value)? {
                count += 1;
                if threshold.is_some_and(|threshold| count >= threshold) {
                    return Ok(Then::End(Value::Nil));
                }
            }
            Ok(Then::Go)
        })?;
        Ok(if application.builtin == Builtin::One { Value::Bool(count == 1) } else { Value::Int(count) })
    }

    fn sum(&mut self, list: &List, predicate: Option<Id>) -> Evaluated {
        let mut sum = Value::Int(0);
        self.each(list, false, |machine, item, _| {
            let value = machine.judged(predicate, item)?;
            sum = operators::apply(Op::Add, &value, &sum, &mut machine.meter)?;
            Ok(Then::Go)
        })?;
        Ok(sum)
    }

    fn group(&mut self, list: &List, predicate: Option<Id>) -> Evaluated {
        let mut groups: BTreeMap<Key, Vec<Value>> = BTreeMap::new();
        self.each(list, false, |machine, item, index| {
            let value = machine.judged(predicate, item.clone())?;
            machine.meter.values(4)?;
            groups.entry(hashed(&value, index)?).or_default().push(item);
            Ok(Then::Go)
        })?;
        let groups = groups.into_iter().map(|(key, items)| (key, List::anys(items))).collect();
        Ok(Meter::built(Map::value(MapType::AnyList, groups))?)
    }

    fn sort_by(&mut self, list: &List, predicate: Option<Id>, order: Option<Id>) -> Evaluated {
        let order = match order {
            Some(order) => self.eval(order)?,
            None => Value::from("asc"),
        };
        let Value::Text(order) = &order else { return Err("sortBy order argument must be a string".to_owned().into()) };
        let descending = match &**order {
            b"asc" => false,
            b"desc" => true,
            _ => return Err("unknown order, use asc or desc".to_owned().into()),
        };
        let mut pairs = Vec::new();
        self.each(list, false, |machine, item, _| {
            let value = machine.judged(predicate, item.clone())?;
            machine.meter.values(3)?;
            pairs.push((value, item));
            Ok(Then::Go)
        })?;
        let sorted = super::lists::sort(pairs, descending, &mut self.meter)?;
        Ok(Meter::built(List::anys(sorted))?)
    }

    fn reduce(&mut self, list: &Arc<List>, predicate: Option<Id>, initial: Option<Id>) -> Evaluated {
        let mut accumulator = match initial {
            Some(initial) => self.eval(initial)?,
            None => match list.get(0) {
                Some(first) => first,
                None => return Err("reduce of empty array with no initial value".to_owned().into()),
            },
        };
        let skipped = usize::from(initial.is_none());
        let depth = self.frames.len();
        self.each(list, false, |machine, item, index| {
            if index < skipped {
                return Ok(Then::Go);
            }
            if let Some(frame) = machine.frames.get_mut(depth) {
                frame.accumulator = std::mem::replace(&mut accumulator, Value::Nil);
            }
            accumulator = machine.judged(predicate, item)?;
            Ok(Then::Go)
        })?;
        Ok(accumulator)
    }
}

/// The panic of Go's reflection when something is gone over that is no list.
fn go_length(value: &Value) -> EvalError {
    let message = match value {
        Value::Nil => "reflect: call of reflect.Value.Len on zero Value".to_owned(),
        // A map has a length, but no elements by number.
        Value::Map(_) => "reflect: call of reflect.Value.Index on map Value".to_owned(),
        other => format!("reflect: call of reflect.Value.Len on {} Value", other.kind_name()),
    };
    EvalError::Failed(message)
}

/// An order that is written as a word.
pub(super) fn order(value: &Value) -> Result<bool, EvalError> {
    match string(value) {
        Ok(order) => match &**order {
            b"asc" => Ok(false),
            b"desc" => Ok(true),
            other => {
                let order = String::from_utf8_lossy(other);
                Err(format!("invalid order {order}, expected asc or desc").into())
            }
        },
        Err(_) => Err(format!("sort order argument must be a string (got {})", value.type_name()).into()),
    }
}
