//! Types as Go sees them: what a condition is checked against before any value is there.

use std::fmt;
use std::sync::Arc;

use crate::builtins::Builtin;
use crate::methods::Method;

/// A Go type. It prints as Go's `%T` does, since messages name it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Type {
    /// `interface {}`.
    Any,
    /// `bool`.
    Bool,
    /// `int`.
    Int,
    /// `int64`.
    Int64,
    /// `uint8`.
    Uint8,
    /// `float64`.
    Float,
    /// `string`.
    String,
    /// A string type with a name of its own, as CloudWatch's status code.
    NamedString(&'static str),
    /// `time.Time`.
    Time,
    /// `time.Duration`.
    Duration,
    /// `time.Month`.
    Month,
    /// `time.Weekday`.
    Weekday,
    /// `*time.Location`.
    Location,
    /// A slice of the inner type.
    Slice(Arc<Type>),
    /// `[2]interface {}`, a pair of `toPairs`.
    Pair,
    /// A map.
    Map(MapType),
    /// A struct.
    Struct(&'static StructType),
    /// A pointer to the inner type.
    Pointer(Arc<Type>),
    /// A function.
    Function(Function),
}

/// The map types that can occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MapType {
    /// `map[string]interface {}`: a JSON object, or a literal.
    StringAny,
    /// `map[interface {}]interface {}`: what `fromPairs` makes.
    AnyAny,
    /// `map[interface {}][]interface {}`: what `groupBy` makes.
    AnyList,
    /// `nrdb.NRDBResult`: a row of New Relic, a `map[string]interface {}` with a name.
    NewRelicRow,
}

/// A struct type: its name and its exported fields. The name tells it from others.
#[derive(Debug)]
pub struct StructType {
    /// The name with its package.
    pub(crate) name: &'static str,
    /// The names of the fields, in order.
    pub(crate) fields: &'static [&'static str],
    /// The types of the fields, in the same order.
    pub(crate) types: fn(usize) -> Type,
}

impl PartialEq for StructType {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for StructType {}

/// A function that an expression can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    /// `asInt`, `asFloat`, `isNaN`, `isInf`, `isNil`, `default`: what Argo Rollouts adds.
    Argo(ArgoFunction),
    /// A built-in function of the language, named without being called.
    Builtin(Builtin),
    /// A method of a time or a duration.
    Method(Method),
}

/// The functions that Argo Rollouts adds to the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgoFunction {
    /// `asInt(any) int64`.
    AsInt,
    /// `asFloat(any) float64`.
    AsFloat,
    /// `isNaN(float64) bool`.
    IsNaN,
    /// `isInf(float64) bool`.
    IsInf,
    /// `isNil(any) bool`, which looks at the whole result.
    IsNil,
    /// `default(any, any) any`, which looks at the whole result.
    Default,
}

impl ArgoFunction {
    pub(crate) fn signature(self) -> Signature {
        match self {
            Self::AsInt => Signature::new(&[Param::Any], Param::Int64),
            Self::AsFloat => Signature::new(&[Param::Any], Param::Float),
            Self::IsNaN | Self::IsInf => Signature::new(&[Param::Float], Param::Bool),
            Self::IsNil => Signature::new(&[Param::Any], Param::Bool),
            Self::Default => Signature::new(&[Param::Any, Param::Any], Param::Any),
        }
    }
}

/// A parameter or result in a [`Signature`]: the types that occur there, as constants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Param {
    Any,
    Bool,
    Int,
    Int64,
    Float,
    String,
    Anys,
    Ints,
    Floats,
    Strings,
    Time,
    Duration,
    Month,
    Weekday,
    Location,
}

impl Param {
    pub(crate) fn to_type(self) -> Type {
        match self {
            Self::Any => Type::Any,
            Self::Bool => Type::Bool,
            Self::Int => Type::Int,
            Self::Int64 => Type::Int64,
            Self::Float => Type::Float,
            Self::String => Type::String,
            Self::Anys => Type::anys(),
            Self::Ints => Type::slice(Type::Int),
            Self::Floats => Type::slice(Type::Float),
            Self::Strings => Type::slice(Type::String),
            Self::Time => Type::Time,
            Self::Duration => Type::Duration,
            Self::Month => Type::Month,
            Self::Weekday => Type::Weekday,
            Self::Location => Type::Location,
        }
    }
}

/// What a function takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) params: &'static [Param],
    pub(crate) result: Param,
    /// The second result is an error.
    pub(crate) fallible: bool,
}

impl Signature {
    pub(crate) const fn new(params: &'static [Param], result: Param) -> Self {
        Self { params, result, fallible: false }
    }

    pub(crate) const fn fallible(params: &'static [Param], result: Param) -> Self {
        Self { params, result, fallible: true }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "func(")?;
        for (index, param) in self.params.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{}", param.to_type())?;
        }
        if self.fallible {
            write!(f, ") ({}, error)", self.result.to_type())
        } else {
            write!(f, ") {}", self.result.to_type())
        }
    }
}

impl Function {
    /// The signature; none for built-ins that check their arguments themselves.
    pub(crate) fn signature(self) -> Option<Signature> {
        match self {
            Self::Argo(function) => Some(function.signature()),
            Self::Builtin(builtin) => builtin.signatures().first().copied(),
            Self::Method(method) => Some(method.signature()),
        }
    }
}

impl fmt::Display for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.signature(), self) {
            (Some(signature), _) => signature.fmt(f),
            // What Go says of a built-in predicate, and of one that checks its arguments itself.
            (None, _) => f.write_str("func(...interface {}) (interface {}, error)"),
        }
    }
}

impl fmt::Display for MapType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StringAny => "map[string]interface {}",
            Self::AnyAny => "map[interface {}]interface {}",
            Self::AnyList => "map[interface {}][]interface {}",
            Self::NewRelicRow => "nrdb.NRDBResult",
        })
    }
}

impl MapType {
    pub(crate) fn key(self) -> Type {
        match self {
            Self::StringAny | Self::NewRelicRow => Type::String,
            Self::AnyAny | Self::AnyList => Type::Any,
        }
    }

    pub(crate) fn element(self) -> Type {
        match self {
            Self::StringAny | Self::NewRelicRow | Self::AnyAny => Type::Any,
            Self::AnyList => Type::anys(),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("interface {}"),
            Self::Bool => f.write_str("bool"),
            Self::Int => f.write_str("int"),
            Self::Int64 => f.write_str("int64"),
            Self::Uint8 => f.write_str("uint8"),
            Self::Float => f.write_str("float64"),
            Self::String => f.write_str("string"),
            Self::NamedString(name) => f.write_str(name),
            Self::Time => f.write_str("time.Time"),
            Self::Duration => f.write_str("time.Duration"),
            Self::Month => f.write_str("time.Month"),
            Self::Weekday => f.write_str("time.Weekday"),
            Self::Location => f.write_str("*time.Location"),
            Self::Slice(element) => write!(f, "[]{element}"),
            Self::Pair => f.write_str("[2]interface {}"),
            Self::Map(map) => map.fmt(f),
            Self::Struct(definition) => f.write_str(definition.name),
            Self::Pointer(target) => write!(f, "*{target}"),
            Self::Function(function) => function.fmt(f),
        }
    }
}

/// Go's `reflect.Kind`, as far as rules ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Interface,
    Bool,
    Int,
    Int64,
    Uint8,
    Float,
    String,
    Struct,
    Slice,
    Array,
    Map,
    Pointer,
    Function,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Interface => "interface",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Int64 => "int64",
            Self::Uint8 => "uint8",
            Self::Float => "float64",
            Self::String => "string",
            Self::Struct => "struct",
            Self::Slice => "slice",
            Self::Array => "array",
            Self::Map => "map",
            Self::Pointer => "ptr",
            Self::Function => "func",
        })
    }
}

impl Type {
    /// `[]T`.
    pub fn slice(element: Self) -> Self {
        Self::Slice(Arc::new(element))
    }

    /// `[]interface {}`.
    pub fn anys() -> Self {
        Self::slice(Self::Any)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Any => Kind::Interface,
            Self::Bool => Kind::Bool,
            Self::Int | Self::Month | Self::Weekday => Kind::Int,
            Self::Int64 | Self::Duration => Kind::Int64,
            Self::Uint8 => Kind::Uint8,
            Self::Float => Kind::Float,
            Self::String | Self::NamedString(_) => Kind::String,
            Self::Time | Self::Struct(_) => Kind::Struct,
            Self::Slice(_) => Kind::Slice,
            Self::Pair => Kind::Array,
            Self::Map(_) => Kind::Map,
            Self::Location | Self::Pointer(_) => Kind::Pointer,
            Self::Function(_) => Kind::Function,
        }
    }

    /// The type behind pointers.
    pub(crate) fn deref(&self) -> &Self {
        let mut target = self;
        while let Self::Pointer(inner) = target {
            target = inner;
        }
        target
    }

    /// Go's rule of assignability between the types that occur here.
    pub(crate) fn assignable_to(&self, other: &Self) -> bool {
        let unnamed_map = |map: &MapType| matches!(map, MapType::StringAny);
        match (self, other) {
            (_, Self::Any) => true,
            // A named and an unnamed map of the same shape are assignable.
            (Self::Map(MapType::NewRelicRow), Self::Map(map)) if unnamed_map(map) => true,
            (Self::Map(map), Self::Map(MapType::NewRelicRow)) if unnamed_map(map) => true,
            (Self::Function(one), Self::Function(two)) => one.signature() == two.signature(),
            _ => self == other,
        }
    }
}

/// What is known of a value before it is there: its type, that it is nil, or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Nature {
    pub(crate) ty: Option<Type>,
    /// What is known of the elements of a list beyond its type.
    pub(crate) element: Option<Arc<Nature>>,
    pub(crate) nil: bool,
}

impl Nature {
    pub(crate) const UNKNOWN: Self = Self { ty: None, element: None, nil: false };
    pub(crate) const NIL: Self = Self { ty: None, element: None, nil: true };

    pub(crate) fn of(ty: Type) -> Self {
        Self { ty: Some(ty), element: None, nil: false }
    }

    pub(crate) fn list_of(element: Self) -> Self {
        Self { ty: Some(Type::anys()), element: Some(Arc::new(element)), nil: false }
    }

    pub(crate) fn is_unknown(&self) -> bool {
        !self.nil && matches!(self.ty, None | Some(Type::Any))
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.ty.as_ref().map(Type::kind)
    }

    pub(crate) fn is_kind(&self, kind: Kind) -> bool {
        self.kind() == Some(kind)
    }

    pub(crate) fn deref(self) -> Self {
        match &self.ty {
            Some(Type::Pointer(_)) => self.ty.as_ref().map_or(Self::UNKNOWN, |ty| Self::of(ty.deref().clone())),
            _ => self,
        }
    }

    pub(crate) fn is_integer(&self) -> bool {
        matches!(self.ty, Some(Type::Int | Type::Int64 | Type::Uint8))
    }

    pub(crate) fn is_float(&self) -> bool {
        matches!(self.ty, Some(Type::Float))
    }

    pub(crate) fn is_number(&self) -> bool {
        self.is_integer() || self.is_float()
    }

    pub(crate) fn is_bool(&self) -> bool {
        self.is_kind(Kind::Bool)
    }

    pub(crate) fn is_string(&self) -> bool {
        self.is_kind(Kind::String)
    }

    pub(crate) fn is_array(&self) -> bool {
        self.is_kind(Kind::Slice) || self.is_kind(Kind::Array)
    }

    pub(crate) fn is_time(&self) -> bool {
        matches!(self.ty, Some(Type::Time))
    }

    pub(crate) fn is_duration(&self) -> bool {
        matches!(self.ty, Some(Type::Duration))
    }

    /// What an element of this list or map is.
    pub(crate) fn element(&self) -> Self {
        match &self.ty {
            Some(Type::Slice(_) | Type::Pair) if self.element.is_some() => {
                self.element.as_deref().cloned().unwrap_or_default()
            }
            Some(Type::Slice(element)) => Self::of((**element).clone()),
            Some(Type::Pair) => Self::of(Type::Any),
            Some(Type::Map(map)) => Self::of(map.element()),
            Some(Type::Pointer(target)) => Self::of((**target).clone()),
            _ => Self::UNKNOWN,
        }
    }

    pub(crate) fn assignable_to(&self, other: &Self) -> bool {
        if self.nil
            && matches!(other.kind(), Some(Kind::Pointer | Kind::Interface | Kind::Function | Kind::Map | Kind::Slice))
        {
            return true;
        }
        match (&self.ty, &other.ty) {
            (Some(one), Some(two)) => one.assignable_to(two),
            _ => false,
        }
    }

    pub(crate) fn comparable_to(&self, other: &Self) -> bool {
        self.is_unknown()
            || other.is_unknown()
            || self.nil
            || other.nil
            || self.is_number() && other.is_number()
            || self.is_duration() && other.is_duration()
            || self.is_time() && other.is_time()
            || self.is_array() && other.is_array()
            || self.assignable_to(other)
    }

    /// One side is unknown, and the other is unknown too or passes the check.
    pub(crate) fn maybe(&self, other: &Self, check: impl Fn(&Self) -> bool) -> bool {
        match (self.is_unknown(), other.is_unknown()) {
            (true, true) => true,
            (true, false) => check(other),
            (false, true) => check(self),
            (false, false) => false,
        }
    }
}

impl fmt::Display for Nature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.ty {
            Some(ty) => ty.fmt(f),
            None => f.write_str("unknown"),
        }
    }
}

/// The Go type of a metric provider's result, which a condition is compiled against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape(pub(crate) Nature);

impl Shape {
    /// A number: a Prometheus scalar, Datadog, one series of Wavefront.
    pub fn number() -> Self {
        Self(Nature::of(Type::Float))
    }

    /// `[]float64`: a Prometheus vector or matrix, Graphite, several series of Wavefront or Datadog.
    pub fn numbers() -> Self {
        Self(Nature::of(Type::slice(Type::Float)))
    }

    /// A string: a web body that is no JSON.
    pub fn text() -> Self {
        Self(Nature::of(Type::String))
    }

    /// `[]interface {}`: a JSON array of the web provider, InfluxDB.
    pub fn list() -> Self {
        Self(Nature::of(Type::anys()))
    }

    /// `map[string]interface {}`: a JSON object of the web provider, SkyWalking.
    pub fn object() -> Self {
        Self(Nature::of(Type::Map(MapType::StringAny)))
    }

    /// `nrdb.NRDBResult`: one row of New Relic.
    pub fn new_relic_row() -> Self {
        Self(Nature::of(Type::Map(MapType::NewRelicRow)))
    }

    /// `[]nrdb.NRDBResult`: several rows of New Relic.
    pub fn new_relic_rows() -> Self {
        Self(Nature::of(Type::slice(Type::Map(MapType::NewRelicRow))))
    }

    /// `[]types.MetricDataResult`: CloudWatch.
    pub fn cloud_watch() -> Self {
        Self(Nature::of(Type::slice(Type::Struct(&crate::cloudwatch::RESULT))))
    }

    /// No result at all.
    pub fn nil() -> Self {
        Self(Nature::NIL)
    }

    /// Nothing is known yet: what a linter checks when the answer decides the type, as with the web provider. Nothing
    /// that some result could make right is then refused.
    pub fn unknown() -> Self {
        Self(Nature::UNKNOWN)
    }

    /// The shape of a value that is there.
    pub fn of(value: &crate::Value) -> Self {
        Self(value.type_of().map_or(Nature::NIL, Nature::of))
    }
}
