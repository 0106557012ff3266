//! Calls: functions with a signature, and built-ins that judge their arguments themselves.

use super::{Checked, Checker};
use crate::ast::{Application, Id, Node, Op};
use crate::builtins::Builtin;
use crate::error::CompileError;
use crate::types::{Kind, MapType, Nature, Param, Signature, Type};

/// The type of an argument as Go's reflection hands it over; none for nil.
type Given = Option<Type>;

fn shown(given: &Given) -> String {
    given.as_ref().map_or_else(|| "%!s(<nil>)".to_owned(), ToString::to_string)
}

fn kind(given: Option<&Given>) -> Option<Kind> {
    given.and_then(Option::as_ref).map(|ty| ty.deref().kind())
}

fn is_number(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Int | Kind::Int64 | Kind::Uint8 | Kind::Float))
}

fn is_list(kind: Option<Kind>) -> bool {
    matches!(kind, Some(Kind::Interface | Kind::Slice | Kind::Array))
}

impl Checker<'_> {
    pub(super) fn call(&mut self, id: Id, callee: Id, arguments: &[Id]) -> Checked {
        if matches!(self.tree.node(callee), Node::Identifier(name) if **name == *"$env") {
            return self.error(id, "map[string]interface {} is not callable");
        }
        let nature = self.visit(callee)?;
        if nature.is_unknown() {
            return Ok(Nature::UNKNOWN);
        }
        let name = match self.tree.node(callee) {
            Node::Identifier(name) => name.to_string(),
            Node::Member { property, .. } => match self.tree.node(*property) {
                Node::Text(name) => String::from_utf8_lossy(name).into_owned(),
                _ => "function".to_owned(),
            },
            _ => "function".to_owned(),
        };
        if nature.nil {
            return self.error(id, format!("{name} is nil; cannot call nil as function"));
        }
        let signature = match &nature.ty {
            Some(Type::Function(function)) => function.signature(),
            _ => None,
        };
        let Some(signature) = signature else { return self.error(id, format!("{nature} is not callable")) };
        let natures = self.visit_all(arguments)?;
        self.arguments(id, &name, signature, arguments, &natures)
    }

    pub(super) fn builtin(&mut self, id: Id, application: &Application) -> Checked {
        let (builtin, arguments) = (application.builtin, &application.arguments);
        if builtin.predicate().is_some() {
            return self.with_predicate(application);
        }
        if builtin == Builtin::Get {
            return self.get(id, arguments);
        }
        let natures = self.visit_all(arguments)?;
        let signatures = builtin.signatures();
        if signatures.is_empty() {
            let given: Vec<Given> = natures
                .iter()
                .map(|nature| if nature.is_unknown() { Some(Type::Any) } else { nature.ty.clone() })
                .collect();
            return match validate(builtin, &given) {
                Ok(ty) => Ok(ty.map_or(Nature::UNKNOWN, Nature::of)),
                Err(message) => self.error(id, message),
            };
        }
        let mut last = CompileError::new(format!("no matching overload for {}", builtin.name()), self.tree.at(id));
        for signature in signatures {
            match self.arguments(id, builtin.name(), *signature, arguments, &natures) {
                Ok(nature) => return Ok(nature),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn visit_all(&mut self, arguments: &[Id]) -> Result<Vec<Nature>, CompileError> {
        arguments.iter().map(|argument| self.visit(*argument)).collect()
    }

    fn arguments(
        &mut self,
        id: Id,
        name: &str,
        signature: Signature,
        arguments: &[Id],
        natures: &[Nature],
    ) -> Result<Nature, CompileError> {
        if arguments.len() > signature.params.len() {
            return self.error(id, format!("too many arguments to call {name}"));
        }
        if arguments.len() < signature.params.len() {
            return self.error(id, format!("not enough arguments to call {name}"));
        }
        for ((argument, nature), param) in arguments.iter().zip(natures).zip(signature.params) {
            if *param == Param::Float && nature.is_integer() {
                self.integers_to_floats(*argument);
                continue;
            }
            let wanted = Nature::of(param.to_type());
            if wanted.is_integer() && nature.is_integer() {
                continue;
            }
            if nature.nil {
                if matches!(wanted.kind(), Some(Kind::Pointer | Kind::Interface)) {
                    continue;
                }
                let message = format!("cannot use nil as argument (type {wanted}) to call {name}");
                return self.error(*argument, message);
            }
            let assignable = nature.assignable_to(&wanted) || nature.clone().deref().assignable_to(&wanted);
            if !assignable && !nature.is_unknown() {
                // The blank at the end is expr-lang's.
                let message = format!("cannot use {nature} as argument (type {wanted}) to call {name} ");
                return self.error(*argument, message);
            }
        }
        Ok(Nature::of(signature.result.to_type()))
    }

    /// Whole literals become floats where a float is wanted, through signs and sums.
    fn integers_to_floats(&mut self, id: Id) {
        let mut open = vec![id];
        while let Some(id) = open.pop() {
            match self.tree.node(id) {
                Node::Integer(value) => {
                    let float = Node::Float(*value as f64);
                    self.tree.set(id, float);
                }
                Node::Prefix { node, .. } => open.push(*node),
                Node::Binary { op: Op::Add | Op::Subtract | Op::Multiply, left, right, .. } => {
                    open.extend([*left, *right]);
                }
                _ => {}
            }
        }
    }

    fn get(&mut self, id: Id, arguments: &[Id]) -> Checked {
        let [from, key] = arguments else {
            return self.error(id, format!("invalid number of arguments (expected 2, got {})", arguments.len()));
        };
        let base = self.visit(*from)?;
        let property = self.visit(*key)?.deref();
        if matches!(self.tree.node(*from), Node::Identifier(name) if **name == *"$env") {
            let name = match self.tree.node(*key) {
                Node::Text(name) => String::from_utf8_lossy(name).into_owned(),
                _ => String::new(),
            };
            return Ok(self.in_environment(&name).unwrap_or_default());
        }
        if base.is_unknown() {
            return Ok(Nature::UNKNOWN);
        }
        match &base.ty {
            Some(Type::Slice(_) | Type::Pair) => {
                if !property.is_integer() && !property.is_unknown() {
                    return self.error(*key, format!("non-integer slice index {property}"));
                }
                Ok(base.element())
            }
            Some(Type::Map(map)) => {
                if !property.assignable_to(&Nature::of(map.key())) && !property.is_unknown() {
                    return self.error(*key, format!("cannot use {property} to get an element from {base}"));
                }
                Ok(base.element())
            }
            _ => self.error(*from, format!("type {base} does not support indexing")),
        }
    }
}

/// The rules of built-ins without a signature. No type means that anything may come out.
fn validate(builtin: Builtin, given: &[Given]) -> Result<Option<Type>, String> {
    match builtin {
        Builtin::Max | Builtin::Min | Builtin::Mean | Builtin::Median => return aggregate(builtin, given),
        Builtin::Now if given.is_empty() => return Ok(Some(Type::Time)),
        Builtin::Now => {
            let zone = matches!(given, [Some(Type::Location)]);
            let message = format!("invalid number of arguments (expected 0, got {})", given.len());
            return if zone { Ok(Some(Type::Time)) } else { Err(message) };
        }
        Builtin::Date => return date(given),
        Builtin::Take => return take(given),
        Builtin::Concat => {
            if given.is_empty() {
                return Err("invalid number of arguments (expected at least 1, got 0)".to_owned());
            }
            let wrong = given.iter().find(|one| !is_list(kind(Some(one))));
            return wrong.map_or(Ok(Some(Type::anys())), |one| Err(format!("cannot concat {}", shown(one))));
        }
        _ => {}
    }
    let [one] = given else { return Err(format!("invalid number of arguments (expected 1, got {})", given.len())) };
    let (kind, unknown) = (kind(Some(one)), kind(Some(one)) == Some(Kind::Interface));
    let name = builtin.name();
    let invalid = || Err(format!("invalid argument for {name} (type {})", shown(one)));
    let numeric = unknown || is_number(kind);
    let list = is_list(kind);
    let map = unknown || kind == Some(Kind::Map);
    match builtin {
        Builtin::Len if list || map || kind == Some(Kind::String) => Ok(Some(Type::Int)),
        Builtin::Abs if numeric => Ok(one.clone()),
        Builtin::Ceil | Builtin::Floor | Builtin::Round if numeric => Ok(Some(Type::Float)),
        Builtin::Int if numeric || kind == Some(Kind::String) => Ok(Some(Type::Int)),
        Builtin::Float if numeric || kind == Some(Kind::String) => Ok(Some(Type::Float)),
        Builtin::First | Builtin::Last if unknown => Ok(None),
        Builtin::First | Builtin::Last => match one {
            Some(Type::Slice(element)) => Ok(Some((**element).clone())),
            Some(Type::Pair) => Ok(None),
            _ => Err(format!("cannot get {name} element from {}", shown(one))),
        },
        Builtin::Keys | Builtin::Values if map => Ok(Some(Type::anys())),
        Builtin::Keys | Builtin::Values => Err(format!("cannot get {name} from {}", shown(one))),
        Builtin::ToPairs if map => Ok(Some(Type::anys())),
        Builtin::ToPairs => Err(format!("cannot transform {} to pairs", shown(one))),
        Builtin::FromPairs if list => Ok(Some(Type::Map(MapType::AnyAny))),
        Builtin::FromPairs => Err(format!("cannot transform {} from pairs", shown(one))),
        Builtin::Reverse | Builtin::Uniq | Builtin::Flatten if list => Ok(Some(Type::anys())),
        Builtin::Reverse | Builtin::Uniq | Builtin::Flatten => Err(format!("cannot {name} {}", shown(one))),
        _ => invalid(),
    }
}

fn aggregate(builtin: Builtin, given: &[Given]) -> Result<Option<Type>, String> {
    let Some(first) = given.first() else { return Err(format!("not enough arguments to call {}", builtin.name())) };
    for one in given {
        let kind = kind(Some(one));
        if is_list(kind) {
            return Ok(None);
        }
        if !is_number(kind) {
            return Err(format!("invalid argument for {} (type {})", builtin.name(), shown(one)));
        }
    }
    Ok(first.clone())
}

fn date(given: &[Given]) -> Result<Option<Type>, String> {
    let rest = match given {
        [] => return Err("invalid number of arguments (expected at least 1, got 0)".to_owned()),
        [Some(Type::Location), rest @ ..] => rest,
        all => all,
    };
    if rest.len() > 3 {
        return Err(format!("invalid number of arguments (expected at most 3, got {})", rest.len()));
    }
    Ok(Some(Type::Time))
}

fn take(given: &[Given]) -> Result<Option<Type>, String> {
    let [from, count] = given else {
        return Err(format!("invalid number of arguments (expected 2, got {})", given.len()));
    };
    if !is_list(kind(Some(from))) {
        return Err(format!("cannot take from {}", shown(from)));
    }
    if !matches!(kind(Some(count)), Some(Kind::Interface | Kind::Int | Kind::Int64)) {
        return Err(format!("cannot take {} elements", shown(count)));
    }
    Ok(if *from == Some(Type::Any) { None } else { from.clone() })
}
