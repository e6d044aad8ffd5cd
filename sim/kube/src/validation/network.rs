//! Ingresses, NetworkPolicies, EndpointSlices.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde_json::Value;

use super::{Errors, names, selector};
use crate::json;

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];
/// Most endpoints of a slice.
const ENDPOINTS_MAX: usize = 1000;
/// Most addresses of an endpoint.
const ADDRESSES_MAX: usize = 100;
/// Most ports of a slice.
const PORTS_MAX: usize = 100;

pub(super) fn ingress(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    let rules = json::list(spec, &["rules"]);
    let default = spec.get("defaultBackend").filter(|b| b.is_object());
    if rules.is_empty() && default.is_none() {
        let shown = spec.get("rules").unwrap_or(&Value::Null);
        errors.invalid("spec", shown, "either `defaultBackend` or `rules` must be specified");
    }
    if let Some(default) = default {
        backend(default, "spec.defaultBackend", errors);
    }
    for (i, rule) in rules.iter().enumerate() {
        let path = format!("spec.rules[{i}]");
        let host = json::text(rule, &["host"]);
        if !host.is_empty() {
            if host.parse::<IpAddr>().is_ok() {
                errors.invalid_text(format!("{path}.host"), host, "must be a DNS name, not an IP address");
            }
            for why in names::host(host) {
                errors.invalid_text(format!("{path}.host"), host, &why);
            }
        }
        let Some(http) = rule.get("http").filter(|h| h.is_object()) else { continue };
        let paths = json::list(http, &["paths"]);
        if paths.is_empty() {
            errors.required(format!("{path}.http.paths"), "");
        }
        for (j, given) in paths.iter().enumerate() {
            ingress_path(given, &format!("{path}.http.paths[{j}]"), errors);
        }
    }
    for (i, tls) in json::list(spec, &["tls"]).iter().enumerate() {
        for (j, host) in json::list(tls, &["hosts"]).iter().enumerate() {
            let host = host.as_str().unwrap_or("");
            for why in names::host(host) {
                errors.invalid_text(format!("spec.tls[{i}].hosts[{j}]"), host, &why);
            }
        }
        let secret = json::text(tls, &["secretName"]);
        for why in if secret.is_empty() { Vec::new() } else { names::subdomain(secret) } {
            errors.invalid_text(format!("spec.tls[{i}].secretName"), secret, &why);
        }
    }
    if let Some(class) = spec.get("ingressClassName").and_then(Value::as_str) {
        for why in names::subdomain(class) {
            errors.invalid_text("spec.ingressClassName", class, &why);
        }
    }
}

fn ingress_path(given: &Value, path: &str, errors: &mut Errors) {
    let Some(kind) = given.get("pathType").and_then(Value::as_str) else {
        return errors.required(format!("{path}.pathType"), "pathType must be specified");
    };
    let text = json::text(given, &["path"]);
    let at = format!("{path}.path");
    match kind {
        "Exact" | "Prefix" => {
            if !text.starts_with('/') {
                errors.invalid_text(at.clone(), text, "must be an absolute path");
            }
            for part in ["//", "/./", "/../", "%2f", "%2F"].iter().filter(|p| text.contains(**p)) {
                errors.invalid_text(at.clone(), text, &format!("must not contain '{part}'"));
            }
            for end in ["/..", "/."].iter().filter(|e| text.ends_with(**e)) {
                errors.invalid_text(at.clone(), text, &format!("cannot end with '{end}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !text.starts_with('/') {
                errors.invalid_text(at, text, "must be an absolute path");
            }
        }
        other => {
            errors.unsupported(format!("{path}.pathType"), other, &["Exact", "ImplementationSpecific", "Prefix"]);
        }
    }
    backend(given.get("backend").unwrap_or(&Value::Null), &format!("{path}.backend"), errors);
}

fn backend(given: &Value, path: &str, errors: &mut Errors) {
    let part = |key: &str| given.get(key).filter(|p| p.is_object());
    match (part("resource"), part("service")) {
        (Some(_), Some(_)) => errors.invalid_text(path, "", "cannot set both resource and service backends"),
        (None, None) => errors.invalid_text(path, "", "resource or service backend is required"),
        (Some(resource), None) => {
            for key in ["kind", "name"] {
                if json::text(resource, &[key]).is_empty() {
                    errors.required(format!("{path}.resource.{key}"), "");
                }
            }
        }
        (None, Some(service)) => {
            let name = json::text(service, &["name"]);
            if name.is_empty() {
                errors.required(format!("{path}.service.name"), "");
            } else {
                for why in names::label_1035(name) {
                    errors.invalid_text(format!("{path}.service.name"), name, &why);
                }
            }
            let (name, number) = (json::text(service, &["port", "name"]), json::int(service, &["port", "number"]));
            match (name, number.filter(|n| *n != 0)) {
                ("", None) => errors.required(path, "port name or number is required"),
                ("", Some(number)) => errors.port(format!("{path}.service.port.number"), &number.into()),
                (name, None) => {
                    for why in names::port_name(name) {
                        errors.invalid_text(format!("{path}.service.port.name"), name, &why);
                    }
                }
                _ => errors.invalid_text(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

pub(super) fn policy(object: &Value, errors: &mut Errors) {
    let spec = object.get("spec").unwrap_or(&Value::Null);
    if let Some(given) = spec.get("podSelector") {
        selector::check(given, "spec.podSelector", errors);
    }
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for (i, rule) in json::list(spec, &[direction]).iter().enumerate() {
            let path = format!("spec.{direction}[{i}]");
            for (j, port) in json::list(rule, &["ports"]).iter().enumerate() {
                policy_port(port, &format!("{path}.ports[{j}]"), errors);
            }
            for (j, peer) in json::list(rule, &[peers]).iter().enumerate() {
                policy_peer(peer, &format!("{path}.{peers}[{j}]"), errors);
            }
        }
    }
    let types = json::list(spec, &["policyTypes"]);
    if types.len() > 2 {
        return errors.invalid("spec.policyTypes", &types.into(), "may not specify more than two policyTypes");
    }
    for (i, kind) in types.iter().enumerate() {
        let kind = kind.as_str().unwrap_or("");
        if !["Ingress", "Egress"].contains(&kind) {
            errors.unsupported(format!("spec.policyTypes[{i}]"), kind, &["Ingress", "Egress"]);
        }
    }
}

fn policy_port(port: &Value, path: &str, errors: &mut Errors) {
    errors.one_of(port, path, "protocol", &["TCP", "UDP", "SCTP"]);
    let (end, at) = (port.get("endPort"), format!("{path}.endPort"));
    match port.get("port") {
        Some(number @ Value::Number(_)) => {
            errors.port(format!("{path}.port"), number);
            if let Some(end) = end {
                if end.as_i64() < number.as_i64() {
                    errors.invalid(at.clone(), end, "must be greater than or equal to `port`");
                }
                errors.port(at, end);
            }
        }
        Some(Value::String(name)) => {
            if let Some(end) = end {
                errors.invalid(at, end, "may not be specified when `port` is non-numeric");
            }
            for why in names::port_name(name) {
                errors.invalid_text(format!("{path}.port"), name, &why);
            }
        }
        _ => {
            if let Some(end) = end {
                errors.invalid(at, end, "may not be specified when `port` is not specified");
            }
        }
    }
}

fn policy_peer(peer: &Value, path: &str, errors: &mut Errors) {
    let mut peers = 0;
    for key in ["podSelector", "namespaceSelector"] {
        if let Some(given) = peer.get(key).filter(|s| s.is_object()) {
            peers += 1;
            selector::check(given, &format!("{path}.{key}"), errors);
        }
    }
    let block = peer.get("ipBlock").filter(|b| b.is_object());
    if let Some(block) = block {
        peers += 1;
        ip_block(block, &format!("{path}.ipBlock"), errors);
    }
    if peers == 0 {
        errors.required(path, "must specify a peer");
    } else if peers > 1 && block.is_some() {
        errors.forbidden(path, "may not specify both ipBlock and another peer");
    }
}

const CIDR: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";

fn ip_block(block: &Value, path: &str, errors: &mut Errors) {
    let text = json::text(block, &["cidr"]);
    if text.is_empty() {
        return errors.required(format!("{path}.cidr"), "");
    }
    let Some(outer) = cidr(text) else { return errors.invalid_text(format!("{path}.cidr"), text, CIDR) };
    for (i, given) in json::list(block, &["except"]).iter().enumerate() {
        let (at, text) = (format!("{path}.except[{i}]"), given.as_str().unwrap_or(""));
        match cidr(text) {
            None => errors.invalid_text(at, text, CIDR),
            Some(inner) => {
                let inside = inner.0.is_ipv4() == outer.0.is_ipv4()
                    && masked(inner.0, outer.1) == masked(outer.0, outer.1)
                    && inner.1 > outer.1;
                if !inside {
                    errors.invalid_text(at, text, "must be a strict subset of `cidr`");
                }
            }
        }
    }
}

fn cidr(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/')?;
    let (address, bits) = (address.parse::<IpAddr>().ok()?, bits.parse::<u32>().ok()?);
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

/// The first `bits` bits of an address.
fn masked(address: IpAddr, bits: u32) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4).checked_shr(32 - bits).unwrap_or(0)),
        IpAddr::V6(v6) => u128::from(v6).checked_shr(128 - bits).unwrap_or(0),
    }
}

pub(super) fn endpoint_slice(object: &Value, errors: &mut Errors) {
    let kind = json::text(object, &["addressType"]);
    if kind.is_empty() {
        errors.required("addressType", "");
    }
    errors.one_of_at(object, "addressType", &["FQDN", "IPv4", "IPv6"]);
    let endpoints = json::list(object, &["endpoints"]);
    if endpoints.len() > ENDPOINTS_MAX {
        errors.too_many("endpoints", endpoints.len(), ENDPOINTS_MAX);
    }
    for (i, endpoint) in endpoints.iter().take(ENDPOINTS_MAX).enumerate() {
        let path = format!("endpoints[{i}].addresses");
        let addresses = json::list(endpoint, &["addresses"]);
        if addresses.is_empty() {
            errors.required(path.clone(), "must contain at least 1 address");
        } else if addresses.len() > ADDRESSES_MAX {
            errors.too_many(path.clone(), addresses.len(), ADDRESSES_MAX);
        }
        for (j, address) in addresses.iter().enumerate() {
            endpoint_address(kind, address.as_str().unwrap_or(""), &format!("{path}[{j}]"), errors);
        }
        if let Some(host) = endpoint.get("hostname").and_then(Value::as_str) {
            for why in names::label(host) {
                errors.invalid_text(format!("endpoints[{i}].hostname"), host, &why);
            }
        }
    }
    let ports = json::list(object, &["ports"]);
    if ports.len() > PORTS_MAX {
        errors.too_many("ports", ports.len(), PORTS_MAX);
    }
    let mut seen = BTreeSet::new();
    for (i, port) in ports.iter().take(PORTS_MAX).enumerate() {
        let (path, name) = (format!("ports[{i}]"), json::text(port, &["name"]));
        for why in if name.is_empty() { Vec::new() } else { names::label(name) } {
            errors.invalid_text(format!("{path}.name"), name, &why);
        }
        if !seen.insert(name) {
            errors.duplicate(format!("{path}.name"), name);
        }
        errors.one_of(port, &path, "protocol", PROTOCOLS);
    }
}

fn endpoint_address(kind: &str, text: &str, path: &str, errors: &mut Errors) {
    if kind == "FQDN" {
        for why in names::subdomain(text) {
            errors.invalid_text(path, text, &why);
        }
        return;
    }
    let Ok(address) = text.parse::<IpAddr>() else {
        return errors.invalid_text(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    };
    if (kind == "IPv4") != address.is_ipv4() {
        errors.invalid_text(
            path,
            text,
            if kind == "IPv4" { "must be an IPv4 address" } else { "must be an IPv6 address" },
        );
    }
    let link_local = match address {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    let local_multicast = match address {
        IpAddr::V4(v4) => v4.octets()[..3] == Ipv4Addr::new(224, 0, 0, 0).octets()[..3],
        IpAddr::V6(v6) => v6.segments()[0] == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0).segments()[0],
    };
    for (wrong, why) in [
        (address.is_unspecified(), "may not be unspecified (0.0.0.0 or ::)"),
        (address.is_loopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"),
        (link_local, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"),
        (local_multicast, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    ] {
        if wrong {
            errors.invalid_text(path, text, why);
        }
    }
}
