//! Built-ins that take a predicate.

use super::{Checked, Checker, Scope};
use crate::ast::{Application, Id};
use crate::builtins::Builtin;
use crate::error::CompileError;
use crate::types::{MapType, Nature, Type};

impl Checker<'_> {
    /// The collection that a built-in goes over: a list, or something unknown.
    fn collection(&mut self, builtin: Builtin, id: Id) -> Checked {
        let collection = self.visit(id)?.deref();
        if !collection.is_array() && !collection.is_unknown() {
            let message = format!("builtin {} takes only array (got {collection})", builtin.name());
            return self.error(id, message);
        }
        Ok(collection)
    }

    fn in_scope(&mut self, scope: Scope, predicate: Id) -> Checked {
        self.predicates.push(scope);
        let nature = self.visit(predicate);
        self.predicates.pop();
        let nature = nature?;
        // A predicate that is nil has no result in the eyes of Go's reflection.
        if nature.nil {
            self.error(predicate, "predicate should has one input and one output param")
        } else {
            Ok(nature)
        }
    }

    fn boolean(&self, predicate: Id, nature: &Nature) -> Result<(), CompileError> {
        if nature.is_bool() || nature.is_unknown() {
            return Ok(());
        }
        self.error(predicate, format!("predicate should return boolean (got {nature})"))
    }

    pub(super) fn with_predicate(&mut self, application: &Application) -> Checked {
        let builtin = application.builtin;
        let mut arguments = application.arguments.iter().copied();
        let collection = self.collection(builtin, arguments.next().unwrap_or_default())?;
        let Some(predicate) = arguments.next() else {
            // Only count and sum do without one.
            return Ok(match builtin {
                Builtin::Count => Nature::of(Type::Int),
                _ => collection.element(),
            });
        };
        let scope = Scope {
            collection: collection.clone(),
            index: matches!(builtin, Builtin::Map | Builtin::Reduce),
            accumulator: builtin == Builtin::Reduce,
        };
        if builtin == Builtin::Reduce {
            return self.reduce(scope, predicate, arguments.next());
        }
        let out = self.in_scope(scope, predicate)?;
        let items = |collection: &Nature| Nature::list_of(collection.element());
        match builtin {
            Builtin::Map => return Ok(Nature::list_of(out)),
            Builtin::Sum => return Ok(out.ty.map_or(Nature::UNKNOWN, Nature::of)),
            Builtin::GroupBy => {
                return Ok(Nature {
                    element: Some(items(&collection).into()),
                    ..Nature::of(Type::Map(MapType::AnyList))
                });
            }
            Builtin::SortBy => {
                if let Some(order) = arguments.next() {
                    let nature = self.visit(order)?;
                    if !nature.is_string() && !nature.is_unknown() {
                        let message = format!("sortBy order argument must be a string (got {nature})");
                        return self.error(order, message);
                    }
                }
                return Ok(collection);
            }
            _ => self.boolean(predicate, &out)?,
        }
        Ok(match builtin {
            Builtin::Count | Builtin::FindIndex | Builtin::FindLastIndex => Nature::of(Type::Int),
            Builtin::Filter if collection.is_unknown() => Nature::of(Type::anys()),
            Builtin::Filter => items(&collection),
            Builtin::Find | Builtin::FindLast => collection.element(),
            _ => Nature::of(Type::Bool),
        })
    }

    fn reduce(&mut self, scope: Scope, predicate: Id, initial: Option<Id>) -> Checked {
        self.predicates.push(scope);
        let nature = self.visit(predicate);
        self.predicates.pop();
        let nature = nature?;
        if let Some(initial) = initial {
            self.visit(initial)?;
        }
        if nature.nil {
            self.error(predicate, "predicate should has two input and one output param")
        } else {
            Ok(nature)
        }
    }
}
