//! The routing tree: which routes an alert takes, and how its groups are told.

use crate::config::RouteConfig;
use crate::matcher::Matchers;
use sim_wire::Labels;
use std::collections::BTreeSet;
use std::time::Duration;

/// What a route tells whom, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteOptions {
    /// Who is notified.
    pub receiver: String,
    /// The labels that make a group.
    pub group_by: BTreeSet<String>,
    /// Whether every label does.
    pub group_by_all: bool,
    /// How long the first notification of a group waits.
    pub group_wait: Duration,
    /// Between two looks at a group.
    pub group_interval: Duration,
    /// After how long nothing new is told again.
    pub repeat_interval: Duration,
    /// When it is silent.
    pub mute_time_intervals: Vec<String>,
    /// When it is not silent.
    pub active_time_intervals: Vec<String>,
}

impl Default for RouteOptions {
    fn default() -> Self {
        Self {
            receiver: String::new(),
            group_by: BTreeSet::new(),
            group_by_all: false,
            group_wait: Duration::from_secs(30),
            group_interval: Duration::from_secs(5 * 60),
            repeat_interval: Duration::from_secs(4 * 3600),
            mute_time_intervals: Vec::new(),
            active_time_intervals: Vec::new(),
        }
    }
}

/// One route of the tree.
#[derive(Debug, Clone)]
pub struct Route {
    /// What it does, inherited values included.
    pub options: RouteOptions,
    /// What an alert has to meet.
    pub matchers: Matchers,
    /// Whether later siblings are tried too.
    pub continues: bool,
    /// Its children, as places in [`Routes::all`].
    pub children: Vec<usize>,
    /// Its parent.
    pub parent: Option<usize>,
    /// The matchers from the root to here; the first half of a group's key.
    pub key: String,
    /// The same with the places among siblings, unlike the key unique in the tree.
    pub id: String,
}

/// A routing tree. The root is the first route.
///
/// ```
/// use sim_alertmanager::{config, route::Routes};
/// let text = "route: {receiver: a, routes: [{matchers: ['team=\"b\"'], receiver: b}]}\nreceivers: [{name: a}, {name: b}]\n";
/// let routes = Routes::new(&config::parse(text).unwrap().route);
/// let labels = sim_wire::Labels::from_pairs([("team", "b")]);
/// assert_eq!(routes.receivers(&labels), ["b"]);
/// assert_eq!(routes.receivers(&sim_wire::Labels::empty()), ["a"]);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Routes {
    /// Depth first, parents before children.
    pub all: Vec<Route>,
}

impl Routes {
    /// The tree of a configuration.
    pub fn new(config: &RouteConfig) -> Self {
        let mut routes = Self::default();
        routes.add(config, None, 0);
        routes
    }

    fn add(&mut self, config: &RouteConfig, parent: Option<usize>, place: usize) -> usize {
        let above = parent.and_then(|parent| self.all.get(parent));
        let mut options = above.map(|parent| parent.options.clone()).unwrap_or_default();
        if !config.receiver.is_empty() {
            options.receiver.clone_from(&config.receiver);
        }
        if let Some(names) = &config.group_by {
            if names.iter().any(|name| name == "...") {
                options.group_by_all = true;
            } else {
                options.group_by = names.iter().cloned().collect();
                options.group_by_all = false;
            }
        }
        options.group_wait = config.group_wait.unwrap_or(options.group_wait);
        options.group_interval = config.group_interval.unwrap_or(options.group_interval);
        options.repeat_interval = config.repeat_interval.unwrap_or(options.repeat_interval);
        // The intervals of a parent are its own.
        options.mute_time_intervals.clone_from(&config.mute_time_intervals);
        options.active_time_intervals.clone_from(&config.active_time_intervals);
        let (key, id) = match above {
            Some(parent) => {
                (format!("{}/{}", parent.key, config.matchers), format!("{}/{}/{place}", parent.id, config.matchers))
            }
            None => (config.matchers.to_string(), config.matchers.to_string()),
        };
        let index = self.all.len();
        self.all.push(Route {
            options,
            matchers: config.matchers.clone(),
            continues: config.continues,
            children: Vec::new(),
            parent,
            key,
            id,
        });
        for (place, child) in config.routes.iter().enumerate() {
            let child = self.add(child, Some(index), place);
            if let Some(route) = self.all.get_mut(index) {
                route.children.push(child);
            }
        }
        index
    }

    /// The routes that an alert takes, in the order of the tree: the deepest that match.
    pub fn matching(&self, labels: &Labels) -> Vec<usize> {
        let mut found = Vec::new();
        self.descend(0, labels, &mut found);
        found
    }

    /// Whether the route or one below it takes the alert.
    fn descend(&self, index: usize, labels: &Labels, found: &mut Vec<usize>) -> bool {
        let Some(route) = self.all.get(index).filter(|route| route.matchers.matches(labels)) else { return false };
        let before = found.len();
        for child in &route.children {
            let taken = self.descend(*child, labels, found);
            let continues = self.all.get(*child).is_some_and(|child| child.continues);
            if taken && !continues {
                break;
            }
        }
        if found.len() == before {
            found.push(index);
        }
        true
    }

    /// Who is told of an alert, in the order of the tree, as `amtool config routes test` prints them.
    pub fn receivers(&self, labels: &Labels) -> Vec<&str> {
        self.matching(labels)
            .into_iter()
            .filter_map(|index| self.all.get(index))
            .map(|route| route.options.receiver.as_str())
            .collect()
    }

    /// The tree as `amtool config routes show` draws it, without the heading.
    pub fn drawn(&self) -> String {
        let mut out = String::from(".\n");
        self.draw(0, "", true, &mut out);
        out
    }

    fn draw(&self, index: usize, prefix: &str, last: bool, out: &mut String) {
        let Some(route) = self.all.get(index) else { return };
        let matchers = if route.matchers.is_empty() { "default-route".to_owned() } else { route.matchers.to_string() };
        let continues = if route.continues { "  continue: true" } else { "" };
        let edge = if last { "└── " } else { "├── " };
        out.push_str(&format!("{prefix}{edge}{matchers}{continues}  receiver: {}\n", route.options.receiver));
        let inner = format!("{prefix}{}", if last { "    " } else { "│   " });
        for (place, child) in route.children.iter().enumerate() {
            self.draw(*child, &inner, place + 1 == route.children.len(), out);
        }
    }

    /// The labels of an alert by which a route groups it.
    pub fn group_labels(&self, index: usize, labels: &Labels) -> Labels {
        match self.all.get(index) {
            Some(route) if route.options.group_by_all => labels.clone(),
            Some(route) => labels.filter(|name| route.options.group_by.contains(name)),
            None => Labels::empty(),
        }
    }
}
