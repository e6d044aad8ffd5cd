//! Random routing trees and label sets, the same for the same seed.

use std::collections::BTreeMap;

/// A small generator (xorshift) of its own.
pub struct Random(u64);

const NAMES: [&str; 4] = ["team", "severity", "alertname", "env"];
const VALUES: [&str; 6] = ["a", "b", "ab", "c-1", "", "d e"];

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % n
    }

    /// One of these.
    pub fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len() as u64) as usize]
    }

    /// A label set that is never empty.
    pub fn labels(&mut self) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::from([("unit".to_owned(), self.below(1 << 40).to_string())]);
        for name in NAMES {
            let value = self.of(&VALUES);
            if self.below(3) > 0 && !value.is_empty() {
                labels.insert(name.to_owned(), value.to_owned());
            }
        }
        labels
    }

    fn matcher(&mut self) -> String {
        let (name, operator) = (self.of(&NAMES), self.of(&["=", "!=", "=~", "!~"]));
        let value = if operator.ends_with('~') {
            self.of(&["a|b", "a.*", ".*", ".+", "", "[a-c].*", "(?:ab)?"])
        } else {
            self.of(&VALUES)
        };
        format!("'{name}{operator}\"{value}\"'")
    }

    fn route(&mut self, depth: u64) -> String {
        let mut parts = Vec::new();
        if self.below(4) > 0 {
            parts.push(format!("receiver: r{}", self.below(8)));
        }
        if self.below(8) > 0 {
            let count = 1 + self.below(2);
            let matchers: Vec<String> = (0..count).map(|_| self.matcher()).collect();
            parts.push(format!("matchers: [{}]", matchers.join(", ")));
        }
        if self.below(6) == 0 {
            let (name, value) = (self.of(&NAMES), self.of(&["a", "b", "c-1"]));
            parts.push(format!("match: {{{name}: {value}}}"));
        }
        if self.below(6) == 0 {
            let name = self.of(&NAMES);
            parts.push(format!("match_re: {{{name}: 'a|c.*'}}"));
        }
        if self.below(3) == 0 {
            parts.push("continue: true".to_owned());
        }
        if depth > 0 && self.below(3) > 0 {
            parts.push(self.routes(depth - 1));
        }
        format!("{{{}}}", parts.join(", "))
    }

    fn routes(&mut self, depth: u64) -> String {
        let count = 1 + self.below(4);
        let routes: Vec<String> = (0..count).map(|_| self.route(depth)).collect();
        format!("routes: [{}]", routes.join(", "))
    }

    /// A configuration with a random tree.
    pub fn tree(&mut self) -> String {
        let receivers: Vec<String> = (0..8).map(|at| format!("{{name: r{at}}}")).collect();
        let routes = self.routes(3);
        format!("route: {{receiver: r0, {routes}}}\nreceivers: [{}]\n", receivers.join(", "))
    }
}
