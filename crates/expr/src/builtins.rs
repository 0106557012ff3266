//! The built-in functions: their names, and what they take.

use crate::types::{Param, Signature};

/// A built-in function of the language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the language's own documentation")]
pub enum Builtin {
    All,
    None,
    Any,
    One,
    Filter,
    Map,
    Find,
    FindIndex,
    FindLast,
    FindLastIndex,
    Count,
    Sum,
    GroupBy,
    SortBy,
    Reduce,
    Len,
    Type,
    Abs,
    Ceil,
    Floor,
    Round,
    Int,
    Float,
    String,
    Trim,
    TrimPrefix,
    TrimSuffix,
    Upper,
    Lower,
    Split,
    SplitAfter,
    Replace,
    Repeat,
    Join,
    IndexOf,
    LastIndexOf,
    HasPrefix,
    HasSuffix,
    Max,
    Min,
    Mean,
    Median,
    ToJson,
    FromJson,
    ToBase64,
    FromBase64,
    Now,
    Duration,
    Date,
    Timezone,
    First,
    Last,
    Get,
    Take,
    Keys,
    Values,
    ToPairs,
    FromPairs,
    Reverse,
    Uniq,
    Concat,
    Flatten,
    Sort,
    Bitand,
    Bitor,
    Bitxor,
    Bitnand,
    Bitshl,
    Bitshr,
    Bitushr,
    Bitnot,
}

/// An argument of a built-in that takes a predicate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Argument {
    pub(crate) predicate: bool,
    pub(crate) optional: bool,
}

const fn argument(predicate: bool, optional: bool) -> Argument {
    Argument { predicate, optional }
}

static WITH_PREDICATE: [Argument; 2] = [argument(false, false), argument(true, false)];
static WITH_OPTIONAL_PREDICATE: [Argument; 2] = [argument(false, false), argument(true, true)];
static WITH_THIRD: [Argument; 3] = [argument(false, false), argument(true, false), argument(false, true)];

/// Every built-in with its name.
static NAMES: &[(&str, Builtin)] = &[
    ("all", Builtin::All),
    ("none", Builtin::None),
    ("any", Builtin::Any),
    ("one", Builtin::One),
    ("filter", Builtin::Filter),
    ("map", Builtin::Map),
    ("find", Builtin::Find),
    ("findIndex", Builtin::FindIndex),
    ("findLast", Builtin::FindLast),
    ("findLastIndex", Builtin::FindLastIndex),
    ("count", Builtin::Count),
    ("sum", Builtin::Sum),
    ("groupBy", Builtin::GroupBy),
    ("sortBy", Builtin::SortBy),
    ("reduce", Builtin::Reduce),
    ("len", Builtin::Len),
    ("type", Builtin::Type),
    ("abs", Builtin::Abs),
    ("ceil", Builtin::Ceil),
    ("floor", Builtin::Floor),
    ("round", Builtin::Round),
    ("int", Builtin::Int),
    ("float", Builtin::Float),
    ("string", Builtin::String),
    ("trim", Builtin::Trim),
    ("trimPrefix", Builtin::TrimPrefix),
    ("trimSuffix", Builtin::TrimSuffix),
    ("upper", Builtin::Upper),
    ("lower", Builtin::Lower),
    ("split", Builtin::Split),
    ("splitAfter", Builtin::SplitAfter),
    ("replace", Builtin::Replace),
    ("repeat", Builtin::Repeat),
    ("join", Builtin::Join),
    ("indexOf", Builtin::IndexOf),
    ("lastIndexOf", Builtin::LastIndexOf),
    ("hasPrefix", Builtin::HasPrefix),
    ("hasSuffix", Builtin::HasSuffix),
    ("max", Builtin::Max),
    ("min", Builtin::Min),
    ("mean", Builtin::Mean),
    ("median", Builtin::Median),
    ("toJSON", Builtin::ToJson),
    ("fromJSON", Builtin::FromJson),
    ("toBase64", Builtin::ToBase64),
    ("fromBase64", Builtin::FromBase64),
    ("now", Builtin::Now),
    ("duration", Builtin::Duration),
    ("date", Builtin::Date),
    ("timezone", Builtin::Timezone),
    ("first", Builtin::First),
    ("last", Builtin::Last),
    ("get", Builtin::Get),
    ("take", Builtin::Take),
    ("keys", Builtin::Keys),
    ("values", Builtin::Values),
    ("toPairs", Builtin::ToPairs),
    ("fromPairs", Builtin::FromPairs),
    ("reverse", Builtin::Reverse),
    ("uniq", Builtin::Uniq),
    ("concat", Builtin::Concat),
    ("flatten", Builtin::Flatten),
    ("sort", Builtin::Sort),
    ("bitand", Builtin::Bitand),
    ("bitor", Builtin::Bitor),
    ("bitxor", Builtin::Bitxor),
    ("bitnand", Builtin::Bitnand),
    ("bitshl", Builtin::Bitshl),
    ("bitshr", Builtin::Bitshr),
    ("bitushr", Builtin::Bitushr),
    ("bitnot", Builtin::Bitnot),
];

impl Builtin {
    /// The built-in of that name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        NAMES.iter().find(|(known, _)| *known == name).map(|(_, builtin)| *builtin)
    }

    pub(crate) fn name(self) -> &'static str {
        NAMES.iter().find(|(_, builtin)| *builtin == self).map_or("", |(name, _)| *name)
    }

    /// The arguments, if one of them is a predicate.
    pub(crate) fn predicate(self) -> Option<&'static [Argument]> {
        match self {
            Self::All | Self::None | Self::Any | Self::One | Self::Filter | Self::Map | Self::Find => {}
            Self::FindIndex | Self::FindLast | Self::FindLastIndex | Self::GroupBy => {}
            Self::Count | Self::Sum => return Some(&WITH_OPTIONAL_PREDICATE),
            Self::SortBy | Self::Reduce => return Some(&WITH_THIRD),
            _ => return None,
        }
        Some(&WITH_PREDICATE)
    }

    /// What it may be called with, in the order in which expr-lang tries; empty if it checks its arguments itself.
    pub(crate) fn signatures(self) -> &'static [Signature] {
        use Param::{Any, Anys, Duration, Floats, Int, Ints, Location, String, Strings};
        const fn takes(params: &'static [Param], result: Param) -> Signature {
            Signature::new(params, result)
        }
        match self {
            Self::Type | Self::String | Self::ToJson => const { &[takes(&[Any], String)] },
            Self::Trim => const { &[takes(&[String], String), takes(&[String, String], String)] },
            Self::TrimPrefix | Self::TrimSuffix => {
                const { &[takes(&[String, String], String), takes(&[String], String)] }
            }
            Self::Upper | Self::Lower | Self::ToBase64 | Self::FromBase64 => const { &[takes(&[String], String)] },
            Self::Split | Self::SplitAfter => {
                const { &[takes(&[String, String], Strings), takes(&[String, String, Int], Strings)] }
            }
            Self::Replace => {
                const { &[takes(&[String, String, String, Int], String), takes(&[String, String, String], String)] }
            }
            Self::Repeat => const { &[takes(&[String, Int], String)] },
            Self::Join => {
                const {
                    &[
                        takes(&[Strings, String], String),
                        takes(&[Anys, String], String),
                        takes(&[Anys], String),
                        takes(&[Strings, String], String),
                        takes(&[Strings], String),
                    ]
                }
            }
            Self::IndexOf | Self::LastIndexOf => const { &[takes(&[String, String], Int)] },
            Self::HasPrefix | Self::HasSuffix => const { &[takes(&[String, String], Param::Bool)] },
            Self::FromJson => const { &[takes(&[String], Any)] },
            Self::Duration => const { &[Signature::fallible(&[String], Duration)] },
            Self::Timezone => const { &[Signature::fallible(&[String], Location)] },
            Self::Sort => {
                const {
                    &[
                        takes(&[Anys, String], Anys),
                        takes(&[Ints, String], Anys),
                        takes(&[Floats, String], Anys),
                        takes(&[Strings, String], Anys),
                        takes(&[Anys], Anys),
                        takes(&[Floats], Anys),
                        takes(&[Strings], Anys),
                        takes(&[Ints], Anys),
                    ]
                }
            }
            Self::Bitand | Self::Bitor | Self::Bitxor | Self::Bitnand | Self::Bitshl | Self::Bitshr | Self::Bitushr => {
                const { &[takes(&[Int, Int], Int)] }
            }
            Self::Bitnot => const { &[takes(&[Int], Int)] },
            _ => &[],
        }
    }
}
