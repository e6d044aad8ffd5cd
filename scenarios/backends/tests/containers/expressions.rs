//! Random, well-typed PromQL over the series of [`crate::series`].

use fastrand::Rng;

/// How deep expressions nest.
const DEPTH_MAX: u32 = 4;

const COUNTERS: &[&str] = &["requests_total", "errors_total"];
const GAUGES: &[&str] = &["temperature", "up", "build_info", "sparse", "weird"];
const CLASSIC: &[&str] = &["latency_seconds_bucket"];
const NATIVE: &[&str] = &["size_bytes", "span_seconds", "custom_bytes"];
const LABELS: &[&str] = &["job", "instance", "code", "room", "version", "le", "__name__", "absent"];
const VALUES: &[&str] = &["api", "web", "a", "b", "200", "500", "kitchen", "1.0", "", "0.5"];

const MATH: &[&str] = &[
    "abs",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "ceil",
    "cos",
    "cosh",
    "deg",
    "exp",
    "floor",
    "ln",
    "log10",
    "log2",
    "rad",
    "sgn",
    "sin",
    "sinh",
    "sqrt",
    "tan",
    "tanh",
    "sort",
    "sort_desc",
    "timestamp",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "hour",
    "minute",
    "month",
    "year",
    "histogram_count",
    "histogram_sum",
    "histogram_avg",
    "histogram_stddev",
    "histogram_stdvar",
    "absent",
    "round",
];
const OVER_TIME: &[&str] = &[
    "avg_over_time",
    "changes",
    "count_over_time",
    "delta",
    "deriv",
    "idelta",
    "increase",
    "irate",
    "last_over_time",
    "max_over_time",
    "min_over_time",
    "present_over_time",
    "rate",
    "resets",
    "stddev_over_time",
    "stdvar_over_time",
    "sum_over_time",
    "absent_over_time",
];
const DURATIONS: &[&str] = &["15s", "30s", "1m", "90s", "2m", "5m", "7m30s", "10m", "1", "4m"];
const NUMBERS: &[&str] =
    &["0", "1", "-1", "2", "0.5", "100", "1e3", "Inf", "-Inf", "NaN", "0x1F", "1_000", "3.7", "1e-9", "5m", "-0"];

/// One expression.
pub fn expression(rng: &mut Rng) -> String {
    match rng.u8(..10) {
        0 => scalar(rng, DEPTH_MAX),
        _ => vector(rng, DEPTH_MAX),
    }
}

fn pick<'a>(rng: &mut Rng, of: &[&'a str]) -> &'a str {
    of[rng.usize(..of.len())]
}

fn some(rng: &mut Rng, percent: u8) -> bool {
    rng.u8(..100) < percent
}

fn scalar(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 || some(rng, 40) {
        return pick(rng, NUMBERS).to_owned();
    }
    match rng.u8(..7) {
        0 => "time()".to_owned(),
        1 => "pi()".to_owned(),
        2 => format!("scalar({})", vector(rng, depth - 1)),
        3 => format!("-{}", scalar(rng, depth - 1)),
        4 => format!("({})", scalar(rng, depth - 1)),
        5 => {
            let comparison = pick(rng, &["==", "!=", "<", "<=", ">", ">="]);
            format!("{} {comparison} bool {}", scalar(rng, depth - 1), scalar(rng, depth - 1))
        }
        _ => format!("{} {} {}", scalar(rng, depth - 1), pick(rng, ARITHMETIC), scalar(rng, depth - 1)),
    }
}

// No `%`: what is left of a large number is all last digits. It has a place of its own.
const ARITHMETIC: &[&str] = &["+", "-", "*", "/", "^", "atan2"];

fn name(rng: &mut Rng) -> &'static str {
    match rng.u8(..10) {
        0..4 => pick(rng, COUNTERS),
        4..7 => pick(rng, GAUGES),
        7 => pick(rng, CLASSIC),
        _ => pick(rng, NATIVE),
    }
}

fn matcher(rng: &mut Rng) -> String {
    let label = pick(rng, &["job", "instance", "code", "room", "le", "absent"]);
    match rng.u8(..4) {
        0 => format!("{label}=\"{}\"", pick(rng, VALUES)),
        1 => format!("{label}!=\"{}\"", pick(rng, VALUES)),
        2 => format!("{label}=~\"{}\"", pick(rng, &["a|b", ".*", "ap.", ".+", "[0-9]+", "5..", "(?i:API)"])),
        _ => format!("{label}!~\"{}\"", pick(rng, &["a|b", "", "web.*", "x", "2.."])),
    }
}

fn selector_of(rng: &mut Rng, name: &str) -> String {
    if some(rng, 60) {
        return name.to_owned();
    }
    let matchers: Vec<String> = (0..rng.usize(1..3)).map(|_| matcher(rng)).collect();
    if some(rng, 10) {
        return format!("{{__name__=\"{name}\",{}}}", matchers.join(","));
    }
    format!("{name}{{{}}}", matchers.join(","))
}

fn selector(rng: &mut Rng) -> String {
    if some(rng, 3) {
        return "{__name__=~\"requests_total|up|temperature\"}".to_owned();
    }
    let name = name(rng);
    selector_of(rng, name)
}

/// `offset` and `@`, in either order.
fn modifiers(rng: &mut Rng) -> String {
    let mut parts = Vec::new();
    if some(rng, 12) {
        parts.push(format!(" offset {}{}", pick(rng, &["", "-"]), pick(rng, DURATIONS)));
    }
    if some(rng, 8) {
        parts.push(format!(" @ {}", pick(rng, &["start()", "end()", "1700000600", "1700001200.5", "1699999990"])));
    }
    if some(rng, 50) {
        parts.reverse();
    }
    parts.concat()
}

fn matrix(rng: &mut Rng, depth: u32) -> String {
    if depth > 0 && some(rng, 20) {
        let step = if some(rng, 30) { String::new() } else { pick(rng, &["15s", "30s", "1m", "20s"]).to_owned() };
        let inner = vector(rng, depth - 1);
        return format!("({inner})[{}:{step}]{}", pick(rng, DURATIONS), modifiers(rng));
    }
    format!("{}[{}]{}", selector(rng), pick(rng, DURATIONS), modifiers(rng))
}

fn labels(rng: &mut Rng) -> String {
    let count = rng.usize(..3);
    let mut labels: Vec<&str> = (0..count).map(|_| pick(rng, LABELS)).filter(|label| *label != "__name__").collect();
    labels.dedup();
    labels.join(",")
}

fn aggregation(rng: &mut Rng, depth: u32) -> String {
    let grouping = match rng.u8(..3) {
        0 => String::new(),
        1 => format!(" by ({})", labels(rng)),
        _ => format!(" without ({})", labels(rng)),
    };
    let mut inner = vector(rng, depth);
    let (operator, argument) = match rng.u8(..14) {
        0..3 => ("sum", String::new()),
        3 => ("avg", String::new()),
        4 => ("min", String::new()),
        5 => ("max", String::new()),
        6 => ("count", String::new()),
        7 => ("group", String::new()),
        8 => ("stddev", String::new()),
        9 => ("stdvar", String::new()),
        10 => ("topk", format!("{}, ", pick(rng, &["1", "2", "3", "0", "-1", "2.7"]))),
        11 => ("bottomk", format!("{}, ", pick(rng, &["1", "2", "5"]))),
        12 => ("quantile", format!("{}, ", pick(rng, &["0.5", "0.9", "0", "1", "-1", "2", "NaN"]))),
        _ => {
            // Values become labels: only what has no last digit to differ in.
            inner = selector(rng);
            ("count_values", "\"value\", ".to_owned())
        }
    };
    if some(rng, 50) {
        format!("{operator}{grouping} ({argument}{inner})")
    } else {
        format!("{operator}({argument}{inner}){grouping}")
    }
}

fn binary(rng: &mut Rng, depth: u32) -> String {
    let operand = |rng: &mut Rng| {
        let text = vector(rng, depth);
        if some(rng, 70) { format!("({text})") } else { text }
    };
    match rng.u8(..10) {
        0..3 => {
            let (vector, scalar) = (operand(rng), format!("({})", scalar(rng, depth)));
            let operator = if some(rng, 60) {
                pick(rng, ARITHMETIC).to_owned()
            } else {
                format!("{}{}", pick(rng, &["==", "!=", "<", "<=", ">", ">="]), pick(rng, &["", " bool"]))
            };
            if some(rng, 70) {
                format!("{vector} {operator} {scalar}")
            } else {
                format!("{scalar} {operator} {vector}")
            }
        }
        3..5 => {
            let matching = match rng.u8(..3) {
                0 => String::new(),
                1 => format!(" on ({})", labels(rng)),
                _ => format!(" ignoring ({})", labels(rng)),
            };
            format!("{} {}{matching} {}", operand(rng), pick(rng, &["and", "or", "unless"]), operand(rng))
        }
        5 => {
            // Many to one that often holds: what the one side has once.
            let many = selector_of(rng, "requests_total");
            let include = pick(rng, &["", "version", "version,extra"]);
            format!("{many} {} on (job) group_left ({include}) build_info", pick(rng, &["*", "+", "/"]))
        }
        _ => {
            let operator = if some(rng, 60) {
                pick(rng, ARITHMETIC).to_owned()
            } else {
                format!("{}{}", pick(rng, &["==", "!=", "<", "<=", ">", ">="]), pick(rng, &["", " bool"]))
            };
            let mut matching = match rng.u8(..3) {
                0 => String::new(),
                1 => format!(" on ({})", labels(rng)),
                _ => format!(" ignoring ({})", labels(rng)),
            };
            if !matching.is_empty() && some(rng, 20) {
                matching
                    .push_str(pick(rng, &[" group_left ()", " group_right ()", " group_left", " group_left (extra)"]));
            }
            format!("{} {operator}{matching} {}", operand(rng), operand(rng))
        }
    }
}

fn quantile(rng: &mut Rng, depth: u32) -> String {
    let which = pick(rng, &["0.5", "0.9", "0.99", "0", "1", "-0.1", "1.1", "NaN"]);
    let over = match rng.u8(..5) {
        0 => "latency_seconds_bucket".to_owned(),
        1 => format!("rate(latency_seconds_bucket[{}])", pick(rng, DURATIONS)),
        2 => format!("sum by (le) (rate(latency_seconds_bucket[{}]))", pick(rng, DURATIONS)),
        3 => {
            let name = pick(rng, NATIVE);
            format!("rate({}[5m])", selector_of(rng, name))
        }
        _ => vector(rng, depth),
    };
    if some(rng, 25) {
        let (low, high) = (pick(rng, &["0", "0.1", "-Inf", "0.25"]), pick(rng, &["0.5", "1", "+Inf", "0.2"]));
        return format!("histogram_fraction({low}, {high}, {over})");
    }
    format!("histogram_quantile({which}, {over})")
}

fn vector(rng: &mut Rng, depth: u32) -> String {
    if depth == 0 || some(rng, 15) {
        return format!("{}{}", selector(rng), modifiers(rng));
    }
    let depth = depth - 1;
    match rng.u8(..22) {
        0..3 => aggregation(rng, depth),
        3..7 => binary(rng, depth),
        7..12 => format!("{}({})", pick(rng, OVER_TIME), matrix(rng, depth)),
        12..14 => match (pick(rng, MATH), vector(rng, depth)) {
            // With both modifiers, 3.5.3 loads samples by both and looks by one of them.
            ("timestamp", of) if of.contains('@') && of.contains("offset") => format!("timestamp({})", selector(rng)),
            (function, of) => format!("{function}({of})"),
        },
        14 => quantile(rng, depth),
        15 => format!("vector({})", scalar(rng, depth)),
        16 => format!("-{}", vector(rng, depth)),
        17 => match rng.u8(..4) {
            0 => format!("clamp({}, {}, {})", vector(rng, depth), scalar(rng, 0), scalar(rng, 0)),
            1 => format!("clamp_min({}, {})", vector(rng, depth), scalar(rng, 0)),
            2 => format!("clamp_max({}, {})", vector(rng, depth), scalar(rng, 0)),
            _ => format!("round({}, {})", vector(rng, depth), scalar(rng, 0)),
        },
        18 => match rng.u8(..2) {
            0 => format!("predict_linear({}, {})", matrix(rng, depth), scalar(rng, 0)),
            _ => format!("quantile_over_time({}, {})", scalar(rng, 0), matrix(rng, depth)),
        },
        19 => match rng.u8(..2) {
            0 => format!(
                "label_replace({}, \"{}\", \"{}\", \"{}\", \"{}\")",
                vector(rng, depth),
                pick(rng, &["to", "job", "__name__", "le"]),
                pick(rng, &["x-$1", "$1", "", "fixed", "${1}y"]),
                pick(rng, &["job", "instance", "code", "absent"]),
                pick(rng, &["(.*)", "(.)pi", "a|b", "", "([0-9]).*"]),
            ),
            _ => format!(
                "label_join({}, \"to\", \"{}\", \"job\", \"{}\")",
                vector(rng, depth),
                pick(rng, &["-", "", ","]),
                pick(rng, LABELS)
            ),
        },
        20 => format!("({} % {})", selector(rng), pick(rng, NUMBERS)),
        _ => format!("{}{}", selector(rng), modifiers(rng)),
    }
}
