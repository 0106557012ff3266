//! Values as Go holds them behind an `any`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Zoned;
use jiff::tz::TimeZone;

use crate::types::{Function, Kind, MapType, StructType, Type};

/// A Go string: bytes, which a slice may cut in the middle of a character.
pub(crate) type Text = Arc<[u8]>;

/// A value of the language: the result of a metric, or what an expression makes of it. Cheap to clone.
#[derive(Debug, Clone)]
pub enum Value {
    /// `nil`.
    Nil,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `int64`, which only `asInt` and methods of times make.
    Int64(i64),
    /// `uint8`: a byte of a string.
    Uint8(u8),
    /// `float64`, NaN and infinities included.
    Float(f64),
    /// `string`.
    Text(Arc<[u8]>),
    /// `[]uint8`: a literal of bytes.
    Bytes(Arc<[u8]>),
    /// A slice or an array.
    List(Arc<List>),
    /// A map.
    Map(Arc<Map>),
    /// A struct of a provider.
    Struct(Arc<Struct>),
    /// `time.Time`.
    Time(Arc<Zoned>),
    /// `time.Duration`, in nanoseconds.
    Duration(i64),
    /// `time.Month`, January is 1.
    Month(i64),
    /// `time.Weekday`, Sunday is 0.
    Weekday(i64),
    /// `*time.Location`.
    Location(Arc<TimeZone>),
    /// A function, not called.
    Function(Function),
}

/// A list with the type of its elements.
#[derive(Debug)]
pub struct List {
    pub(crate) element: Type,
    pub(crate) items: Items,
    /// Go's nil slice: empty, and equal to nil.
    pub(crate) nil: bool,
    /// A `[2]interface {}` rather than a slice.
    pub(crate) pair: bool,
    pub(crate) depth: u32,
}

/// The elements, numbers packed.
#[derive(Debug)]
pub(crate) enum Items {
    Floats(Vec<f64>),
    Ints(Vec<i64>),
    Values(Vec<Value>),
}

impl Items {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Floats(items) => items.len(),
            Self::Ints(items) => items.len(),
            Self::Values(items) => items.len(),
        }
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value> {
        match self {
            Self::Floats(items) => items.get(index).copied().map(Value::Float),
            Self::Ints(items) => items.get(index).copied().map(Value::Int),
            Self::Values(items) => items.get(index).cloned(),
        }
    }
}

impl List {
    fn value(element: Type, items: Items, pair: bool) -> Value {
        let depth = match &items {
            Items::Values(items) => 1 + items.iter().map(Value::depth).max().unwrap_or(0),
            _ => 1,
        };
        Value::List(Arc::new(Self { element, items, nil: false, pair, depth }))
    }

    pub(crate) fn of(element: Type, items: Vec<Value>) -> Value {
        Self::value(element, Items::Values(items), false)
    }

    pub(crate) fn anys(items: Vec<Value>) -> Value {
        Self::of(Type::Any, items)
    }

    pub(crate) fn ints(items: Vec<i64>) -> Value {
        Self::value(Type::Int, Items::Ints(items), false)
    }

    pub(crate) fn pair(key: Value, value: Value) -> Value {
        Self::value(Type::Any, Items::Values(vec![key, value]), true)
    }

    pub(crate) fn nil_anys() -> Value {
        let items = Items::Values(Vec::new());
        Value::List(Arc::new(Self { element: Type::Any, items, nil: true, pair: false, depth: 1 }))
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value> {
        self.items.get(index)
    }

    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Value> {
        (0..self.len()).filter_map(|index| self.get(index))
    }

    pub(crate) fn type_of(&self) -> Type {
        if self.pair { Type::Pair } else { Type::slice(self.element.clone()) }
    }

    /// The elements from `from` up to `to`, both within bounds.
    pub(crate) fn cut(&self, from: usize, to: usize) -> Value {
        let items = match &self.items {
            Items::Floats(items) => Items::Floats(items.get(from..to).unwrap_or_default().to_vec()),
            Items::Ints(items) => Items::Ints(items.get(from..to).unwrap_or_default().to_vec()),
            Items::Values(items) => Items::Values(items.get(from..to).unwrap_or_default().to_vec()),
        };
        Self::value(self.element.clone(), items, false)
    }
}

/// A key of a map. Go tells `1` from `1.0`, and no NaN from any other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// `nil`.
    Nil,
    /// `bool`.
    Bool(bool),
    /// `int`.
    Int(i64),
    /// `int64`.
    Int64(i64),
    /// `uint8`.
    Uint8(u8),
    /// `float64` that is a number, as bits that sort like it.
    Float(u64),
    /// A NaN; each is a key of its own.
    Nan(usize),
    /// `string`.
    Text(Arc<[u8]>),
    /// `time.Duration`.
    Duration(i64),
    /// `time.Month`.
    Month(i64),
    /// `time.Weekday`.
    Weekday(i64),
    /// `[2]interface {}`.
    Pair(Box<(Key, Key)>),
}

fn sortable(float: f64) -> u64 {
    // Zero has one key, whatever its sign.
    let bits = if float == 0.0 { 0 } else { float.to_bits() };
    if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
}

fn unsortable(bits: u64) -> f64 {
    f64::from_bits(if bits >> 63 == 1 { bits & !(1 << 63) } else { !bits })
}

impl Key {
    /// The key that a value is, or the type that Go cannot hash. A NaN takes the number given.
    pub(crate) fn of(value: &Value, nan: usize) -> Result<Self, Type> {
        Ok(match value {
            Value::Nil => Self::Nil,
            Value::Bool(value) => Self::Bool(*value),
            Value::Int(value) => Self::Int(*value),
            Value::Int64(value) => Self::Int64(*value),
            Value::Uint8(value) => Self::Uint8(*value),
            Value::Float(value) if value.is_nan() => Self::Nan(nan),
            Value::Float(value) => Self::Float(sortable(*value)),
            Value::Text(text) => Self::Text(text.clone()),
            Value::Duration(value) => Self::Duration(*value),
            Value::Month(value) => Self::Month(*value),
            Value::Weekday(value) => Self::Weekday(*value),
            Value::List(list) if list.pair => {
                let part = |index| list.get(index).map_or(Ok(Self::Nil), |value| Self::of(&value, nan));
                Self::Pair(Box::new((part(0)?, part(1)?)))
            }
            other => return Err(other.type_of().unwrap_or(Type::Any)),
        })
    }

    pub(crate) fn value(&self) -> Value {
        match self {
            Self::Nil => Value::Nil,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(value) => Value::Int(*value),
            Self::Int64(value) => Value::Int64(*value),
            Self::Uint8(value) => Value::Uint8(*value),
            Self::Float(bits) => Value::Float(unsortable(*bits)),
            Self::Nan(_) => Value::Float(f64::NAN),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Duration(value) => Value::Duration(*value),
            Self::Month(value) => Value::Month(*value),
            Self::Weekday(value) => Value::Weekday(*value),
            Self::Pair(pair) => List::pair(pair.0.value(), pair.1.value()),
        }
    }
}

/// A map with its type.
#[derive(Debug)]
pub struct Map {
    pub(crate) ty: MapType,
    pub(crate) entries: BTreeMap<Key, Value>,
    pub(crate) depth: u32,
}

impl Map {
    pub(crate) fn value(ty: MapType, entries: BTreeMap<Key, Value>) -> Value {
        let depth = 1 + entries.values().map(Value::depth).max().unwrap_or(0);
        Value::Map(Arc::new(Self { ty, entries, depth }))
    }
}

/// A struct of a provider.
#[derive(Debug)]
pub struct Struct {
    pub(crate) ty: &'static StructType,
    pub(crate) fields: Vec<Value>,
}

impl Struct {
    pub(crate) fn value(ty: &'static StructType, fields: Vec<Value>) -> Value {
        Value::Struct(Arc::new(Self { ty, fields }))
    }

    pub(crate) fn get(&self, name: &[u8]) -> Option<Value> {
        let index = self.ty.fields.iter().position(|field| field.as_bytes() == name)?;
        self.fields.get(index).cloned()
    }
}

impl Value {
    /// How deep lists and maps are nested in it. Deeper than [`crate::MAX_DEPTH`] is never built.
    pub(crate) fn depth(&self) -> u32 {
        match self {
            Self::List(list) => list.depth,
            Self::Map(map) => map.depth,
            Self::Struct(_) => 3,
            _ => 0,
        }
    }

    /// The Go type; none for nil.
    pub fn type_of(&self) -> Option<Type> {
        Some(match self {
            Self::Nil => return None,
            Self::Bool(_) => Type::Bool,
            Self::Int(_) => Type::Int,
            Self::Int64(_) => Type::Int64,
            Self::Uint8(_) => Type::Uint8,
            Self::Float(_) => Type::Float,
            Self::Text(_) => Type::String,
            Self::Bytes(_) => Type::slice(Type::Uint8),
            Self::List(list) => list.type_of(),
            Self::Map(map) => Type::Map(map.ty),
            Self::Struct(value) => Type::Struct(value.ty),
            Self::Time(_) => Type::Time,
            Self::Duration(_) => Type::Duration,
            Self::Month(_) => Type::Month,
            Self::Weekday(_) => Type::Weekday,
            Self::Location(_) => Type::Location,
            Self::Function(function) => Type::Function(*function),
        })
    }

    /// The name of the type as Go's `%T` prints it.
    pub fn type_name(&self) -> String {
        self.type_of().map_or_else(|| "<nil>".to_owned(), |ty| ty.to_string())
    }

    /// Go's kind as it prints; "invalid" for nil.
    pub(crate) fn kind_name(&self) -> String {
        self.type_of().map_or_else(|| "invalid".to_owned(), |ty| ty.kind().to_string())
    }

    pub(crate) fn kind(&self) -> Option<Kind> {
        self.type_of().map(|ty| ty.kind())
    }

    /// Go's nil, that of a slice included.
    pub(crate) fn is_nil(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::List(list) => list.nil,
            _ => false,
        }
    }

    /// What Argo Rollouts counts as no data: nil, or a list without elements.
    pub fn is_nil_or_empty(&self) -> bool {
        match self {
            Self::Nil => true,
            Self::List(list) => list.len() == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
            _ => false,
        }
    }

    pub(crate) fn text(bytes: &[u8]) -> Self {
        Self::Text(Arc::from(bytes))
    }

    pub(crate) fn strings<'a>(parts: impl Iterator<Item = &'a [u8]>) -> Self {
        List::of(Type::String, parts.map(Self::text).collect())
    }

    /// `[]interface {}`: what the InfluxDB provider hands on.
    pub fn anys(items: Vec<Self>) -> Self {
        List::anys(items)
    }

    /// A JSON value as the web, SkyWalking and InfluxDB providers hand it on: every number is a `float64`.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::from(value)
    }

    /// Rows as the New Relic provider hands them on: one row as a map, several as a list. A row that is no object is
    /// left out.
    pub fn new_relic(rows: &[serde_json::Value]) -> Self {
        let row = |row: &serde_json::Value| Some(Map::value(MapType::NewRelicRow, entries(row.as_object()?)));
        let mut rows: Vec<Self> = rows.iter().filter_map(row).collect();
        match rows.len() {
            1 => rows.pop().unwrap_or(Self::Nil),
            _ => List::of(Type::Map(MapType::NewRelicRow), rows),
        }
    }
}

fn entries(object: &serde_json::Map<String, serde_json::Value>) -> BTreeMap<Key, Value> {
    object.iter().map(|(key, value)| (Key::Text(Arc::from(key.as_bytes())), Value::from(value))).collect()
}

impl From<&serde_json::Value> for Value {
    fn from(value: &serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match value {
            Json::Null => Self::Nil,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Self::from(text.as_str()),
            Json::Array(items) => List::anys(items.iter().map(Self::from).collect()),
            Json::Object(object) => Map::value(MapType::StringAny, entries(object)),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::text(value.as_bytes())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::text(value.as_bytes())
    }
}

impl From<Vec<f64>> for Value {
    fn from(values: Vec<f64>) -> Self {
        List::value(Type::Float, Items::Floats(values), false)
    }
}

impl From<jiff::Timestamp> for Value {
    fn from(time: jiff::Timestamp) -> Self {
        Self::Time(Arc::new(time.to_zoned(TimeZone::UTC)))
    }
}

/// As Go's `%v` prints it; a long one is cut.
impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&crate::text::format_value(self))
    }
}
