//! Every function with its overloads, as Kubernetes' environment declares them.
//!
//! One overload a line: `name : (arguments) -> result`, or `name : target.(arguments) -> result` for a member function.
//! `A`, `B`, `C` are type parameters.

use std::{collections::BTreeMap, sync::OnceLock};

use crate::types::Type;

/// One overload.
#[derive(Clone, Debug)]
pub(crate) struct Overload {
    pub(crate) member: bool,
    /// Arguments, the target first if it is a member function.
    pub(crate) args: Vec<Type>,
    pub(crate) result: Type,
}

/// Type names that are values (`type(x) == string`).
pub(crate) const TYPE_NAMES: &[(&str, Type)] = &[
    ("bool", Type::Bool),
    ("int", Type::Int),
    ("uint", Type::Uint),
    ("double", Type::Double),
    ("string", Type::String),
    ("bytes", Type::Bytes),
    ("null_type", Type::Null),
    ("dyn", Type::Dyn),
    ("google.protobuf.Timestamp", Type::Timestamp),
    ("google.protobuf.Duration", Type::Duration),
];

const TEXT: &str = "
_+_ : (int, int) -> int
_+_ : (uint, uint) -> uint
_+_ : (double, double) -> double
_+_ : (string, string) -> string
_+_ : (bytes, bytes) -> bytes
_+_ : (list(A), list(A)) -> list(A)
_+_ : (timestamp, duration) -> timestamp
_+_ : (duration, timestamp) -> timestamp
_+_ : (duration, duration) -> duration
_-_ : (int, int) -> int
_-_ : (uint, uint) -> uint
_-_ : (double, double) -> double
_-_ : (timestamp, timestamp) -> duration
_-_ : (timestamp, duration) -> timestamp
_-_ : (duration, duration) -> duration
_*_ : (int, int) -> int
_*_ : (uint, uint) -> uint
_*_ : (double, double) -> double
_/_ : (int, int) -> int
_/_ : (uint, uint) -> uint
_/_ : (double, double) -> double
_%_ : (int, int) -> int
_%_ : (uint, uint) -> uint
-_ : (int) -> int
-_ : (double) -> double
!_ : (bool) -> bool
_&&_ : (bool, bool) -> bool
_||_ : (bool, bool) -> bool
_?_:_ : (bool, A, A) -> A
_==_ : (A, A) -> bool
_!=_ : (A, A) -> bool
@in : (A, list(A)) -> bool
@in : (A, map(A, B)) -> bool
_[_] : (list(A), int) -> A
_[_] : (map(A, B), A) -> B
_[_] : (optional(list(A)), int) -> optional(A)
_[_] : (optional(map(A, B)), A) -> optional(B)
_[?_] : (list(A), int) -> optional(A)
_[?_] : (map(A, B), A) -> optional(B)
_[?_] : (optional(list(A)), int) -> optional(A)
_[?_] : (optional(map(A, B)), A) -> optional(B)
size : (string) -> int
size : (bytes) -> int
size : (list(A)) -> int
size : (map(A, B)) -> int
size : string.() -> int
size : bytes.() -> int
size : list(A).() -> int
size : map(A, B).() -> int
type : (A) -> type(A)
dyn : (A) -> dyn
bool : (bool) -> bool
bool : (string) -> bool
bytes : (bytes) -> bytes
bytes : (string) -> bytes
double : (double) -> double
double : (int) -> double
double : (uint) -> double
double : (string) -> double
int : (int) -> int
int : (uint) -> int
int : (double) -> int
int : (string) -> int
int : (timestamp) -> int
uint : (uint) -> uint
uint : (int) -> uint
uint : (double) -> uint
uint : (string) -> uint
string : (string) -> string
string : (bool) -> string
string : (int) -> string
string : (uint) -> string
string : (double) -> string
string : (bytes) -> string
string : (timestamp) -> string
string : (duration) -> string
timestamp : (timestamp) -> timestamp
timestamp : (string) -> timestamp
timestamp : (int) -> timestamp
duration : (duration) -> duration
duration : (string) -> duration
duration : (int) -> duration
contains : string.(string) -> bool
startsWith : string.(string) -> bool
endsWith : string.(string) -> bool
matches : string.(string) -> bool
matches : (string, string) -> bool
getFullYear : timestamp.() -> int
getFullYear : timestamp.(string) -> int
getMonth : timestamp.() -> int
getMonth : timestamp.(string) -> int
getDayOfYear : timestamp.() -> int
getDayOfYear : timestamp.(string) -> int
getDayOfMonth : timestamp.() -> int
getDayOfMonth : timestamp.(string) -> int
getDate : timestamp.() -> int
getDate : timestamp.(string) -> int
getDayOfWeek : timestamp.() -> int
getDayOfWeek : timestamp.(string) -> int
getHours : timestamp.() -> int
getHours : timestamp.(string) -> int
getHours : duration.() -> int
getMinutes : timestamp.() -> int
getMinutes : timestamp.(string) -> int
getMinutes : duration.() -> int
getSeconds : timestamp.() -> int
getSeconds : timestamp.(string) -> int
getSeconds : duration.() -> int
getMilliseconds : timestamp.() -> int
getMilliseconds : timestamp.(string) -> int
getMilliseconds : duration.() -> int
optional.of : (A) -> optional(A)
optional.ofNonZeroValue : (A) -> optional(A)
optional.none : () -> optional(A)
value : optional(A).() -> A
hasValue : optional(A).() -> bool
or : optional(A).(optional(A)) -> optional(A)
orValue : optional(A).(A) -> A
charAt : string.(int) -> string
indexOf : string.(string) -> int
indexOf : string.(string, int) -> int
lastIndexOf : string.(string) -> int
lastIndexOf : string.(string, int) -> int
join : list(string).() -> string
join : list(string).(string) -> string
lowerAscii : string.() -> string
upperAscii : string.() -> string
replace : string.(string, string) -> string
replace : string.(string, string, int) -> string
split : string.(string) -> list(string)
split : string.(string, int) -> list(string)
substring : string.(int) -> string
substring : string.(int, int) -> string
trim : string.() -> string
format : string.(list(dyn)) -> string
strings.quote : (string) -> string
isSorted : list(int).() -> bool
isSorted : list(uint).() -> bool
isSorted : list(double).() -> bool
isSorted : list(bool).() -> bool
isSorted : list(duration).() -> bool
isSorted : list(timestamp).() -> bool
isSorted : list(string).() -> bool
isSorted : list(bytes).() -> bool
sum : list(int).() -> int
sum : list(uint).() -> uint
sum : list(double).() -> double
sum : list(duration).() -> duration
min : list(int).() -> int
min : list(uint).() -> uint
min : list(double).() -> double
min : list(bool).() -> bool
min : list(duration).() -> duration
min : list(timestamp).() -> timestamp
min : list(string).() -> string
min : list(bytes).() -> bytes
max : list(int).() -> int
max : list(uint).() -> uint
max : list(double).() -> double
max : list(bool).() -> bool
max : list(duration).() -> duration
max : list(timestamp).() -> timestamp
max : list(string).() -> string
max : list(bytes).() -> bytes
indexOf : list(A).(A) -> int
lastIndexOf : list(A).(A) -> int
slice : list(A).(int, int) -> list(A)
flatten : list(list(A)).() -> list(A)
flatten : list(dyn).(int) -> list(dyn)
sort : list(A).() -> list(A)
distinct : list(A).() -> list(A)
reverse : list(A).() -> list(A)
first : list(A).() -> optional(A)
last : list(A).() -> optional(A)
lists.range : (int) -> list(int)
find : string.(string) -> string
findAll : string.(string) -> list(string)
findAll : string.(string, int) -> list(string)
sets.contains : (list(A), list(A)) -> bool
sets.equivalent : (list(A), list(A)) -> bool
sets.intersects : (list(A), list(A)) -> bool
url : (string) -> kubernetes.URL
isURL : (string) -> bool
getScheme : kubernetes.URL.() -> string
getHost : kubernetes.URL.() -> string
getHostname : kubernetes.URL.() -> string
getPort : kubernetes.URL.() -> string
getEscapedPath : kubernetes.URL.() -> string
getQuery : kubernetes.URL.() -> map(string, list(string))
ip : (string) -> net.IP
isIP : (string) -> bool
ip.isCanonical : (string) -> bool
family : net.IP.() -> int
isUnspecified : net.IP.() -> bool
isLoopback : net.IP.() -> bool
isLinkLocalMulticast : net.IP.() -> bool
isLinkLocalUnicast : net.IP.() -> bool
isGlobalUnicast : net.IP.() -> bool
string : (net.IP) -> string
cidr : (string) -> net.CIDR
isCIDR : (string) -> bool
containsIP : net.CIDR.(string) -> bool
containsIP : net.CIDR.(net.IP) -> bool
containsCIDR : net.CIDR.(string) -> bool
containsCIDR : net.CIDR.(net.CIDR) -> bool
ip : net.CIDR.() -> net.IP
masked : net.CIDR.() -> net.CIDR
prefixLength : net.CIDR.() -> int
string : (net.CIDR) -> string
quantity : (string) -> kubernetes.Quantity
isQuantity : (string) -> bool
sign : kubernetes.Quantity.() -> int
isInteger : kubernetes.Quantity.() -> bool
asInteger : kubernetes.Quantity.() -> int
asApproximateFloat : kubernetes.Quantity.() -> double
add : kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity
add : kubernetes.Quantity.(int) -> kubernetes.Quantity
sub : kubernetes.Quantity.(kubernetes.Quantity) -> kubernetes.Quantity
sub : kubernetes.Quantity.(int) -> kubernetes.Quantity
isGreaterThan : kubernetes.Quantity.(kubernetes.Quantity) -> bool
isLessThan : kubernetes.Quantity.(kubernetes.Quantity) -> bool
compareTo : kubernetes.Quantity.(kubernetes.Quantity) -> int
semver : (string) -> kubernetes.Semver
semver : (string, bool) -> kubernetes.Semver
isSemver : (string) -> bool
isSemver : (string, bool) -> bool
major : kubernetes.Semver.() -> int
minor : kubernetes.Semver.() -> int
patch : kubernetes.Semver.() -> int
isGreaterThan : kubernetes.Semver.(kubernetes.Semver) -> bool
isLessThan : kubernetes.Semver.(kubernetes.Semver) -> bool
compareTo : kubernetes.Semver.(kubernetes.Semver) -> int
format.named : (string) -> optional(kubernetes.NamedFormat)
format.dns1123Label : () -> kubernetes.NamedFormat
format.dns1123Subdomain : () -> kubernetes.NamedFormat
format.dns1035Label : () -> kubernetes.NamedFormat
format.qualifiedName : () -> kubernetes.NamedFormat
format.dns1123LabelPrefix : () -> kubernetes.NamedFormat
format.dns1123SubdomainPrefix : () -> kubernetes.NamedFormat
format.dns1035LabelPrefix : () -> kubernetes.NamedFormat
format.labelValue : () -> kubernetes.NamedFormat
format.uri : () -> kubernetes.NamedFormat
format.uuid : () -> kubernetes.NamedFormat
format.byte : () -> kubernetes.NamedFormat
format.date : () -> kubernetes.NamedFormat
format.datetime : () -> kubernetes.NamedFormat
validate : kubernetes.NamedFormat.(string) -> optional(list(string))
";

/// Pairs of types that have an order among each other, numbers across their types included.
const ORDERED: &[&str] = &["bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration"];

/// Every function by name.
pub(crate) fn all() -> &'static BTreeMap<String, Vec<Overload>> {
    static TABLE: OnceLock<BTreeMap<String, Vec<Overload>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table: BTreeMap<String, Vec<Overload>> = BTreeMap::new();
        for line in TEXT.lines().filter(|l| !l.is_empty()) {
            let (name, overload) = read(line).unwrap_or_else(|| panic!("a signature that reads: {line}"));
            table.entry(name.to_owned()).or_default().push(overload);
        }
        for name in ["_<_", "_<=_", "_>_", "_>=_"] {
            let overloads = table.entry(name.to_owned()).or_default();
            let mut add = |a: &str, b: &str| {
                if let (Some((a, _)), Some((b, _))) = (read_type(a), read_type(b)) {
                    overloads.push(Overload { member: false, args: vec![a, b], result: Type::Bool });
                }
            };
            for t in ORDERED {
                add(t, t);
            }
            for a in ["int", "uint", "double"] {
                for b in ["int", "uint", "double"].into_iter().filter(|b| *b != a) {
                    add(a, b);
                }
            }
        }
        table
    })
}

fn read(line: &str) -> Option<(&str, Overload)> {
    let (name, rest) = line.split_once(" : ")?;
    let (left, result) = rest.rsplit_once(" -> ")?;
    let result = read_type(result)?.0;
    let mut args = Vec::new();
    let mut rest = left;
    let member = !left.starts_with('(');
    if member {
        let (target, after) = read_type(left)?;
        args.push(target);
        rest = after.strip_prefix('.')?;
    }
    rest = rest.strip_prefix('(')?;
    while !rest.starts_with(')') {
        let (arg, after) = read_type(rest)?;
        args.push(arg);
        rest = after.strip_prefix(", ").unwrap_or(after);
    }
    Some((name, Overload { member, args, result }))
}

/// A type and what follows it.
fn read_type(text: &str) -> Option<(Type, &str)> {
    const OPAQUE: &[&str] =
        &["kubernetes.URL", "kubernetes.Quantity", "kubernetes.Semver", "kubernetes.NamedFormat", "net.IP", "net.CIDR"];
    if let Some(name) = OPAQUE.iter().find(|name| text.starts_with(**name)) {
        return Some((Type::Opaque(name), &text[name.len()..]));
    }
    let end = text.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let simple = match name {
        "dyn" => Type::Dyn,
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String,
        "bytes" => Type::Bytes,
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "A" => Type::Param(0),
        "B" => Type::Param(1),
        "list" | "optional" | "type" | "map" => {
            let (first, rest) = read_type(rest.strip_prefix('(')?)?;
            let first = std::sync::Arc::new(first);
            if name == "map" {
                let (second, rest) = read_type(rest.strip_prefix(", ")?)?;
                return Some((Type::Map(first, second.into()), rest.strip_prefix(')')?));
            }
            let ty = match name {
                "list" => Type::List(first),
                "optional" => Type::Optional(first),
                _ => Type::Type(first),
            };
            return Some((ty, rest.strip_prefix(')')?));
        }
        _ => return None,
    };
    Some((simple, rest))
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_line_of_the_table_reads() {
        let table = super::all();
        assert_eq!(table["_<_"].len(), 14);
        assert!(!table.contains_key("map") && table["size"].len() == 8);
    }
}
