//! IP addresses and CIDR blocks.

use std::net::IpAddr;

use super::Result;
use crate::{
    EvalError,
    value::{Value, error},
};

/// An address; zones, and IPv4 inside IPv6, are refused.
fn ip(text: &str) -> std::result::Result<IpAddr, EvalError> {
    let refuse = |why: &str| error(format!("IP Address {text:?} parse error during conversion from string: {why}"));
    if text.contains('%') {
        return Err(refuse("IP address with zone value is not allowed"));
    }
    let ip: IpAddr = text.parse().map_err(|_| refuse(&format!("ParseAddr({text:?}): unable to parse IP")))?;
    match ip {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some() => Err(refuse("IPv4-mapped IPv6 address is not allowed")),
        ip => Ok(ip),
    }
}

fn cidr(text: &str) -> std::result::Result<(IpAddr, u8), EvalError> {
    let refuse = || {
        error(format!(
            "network address parse error during conversion from string: netip.ParsePrefix({text:?}): invalid CIDR"
        ))
    };
    let (address, bits) = text.split_once('/').ok_or_else(refuse)?;
    let address = ip(address).map_err(|_| refuse())?;
    let digits =
        !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && (bits.len() == 1 || !bits.starts_with('0'));
    let bits: u8 = bits.parse().ok().filter(|b| digits && *b <= width(address)).ok_or_else(refuse)?;
    Ok((address, bits))
}

fn width(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

fn number(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(v4) => u128::from(u32::from(v4)),
        IpAddr::V6(v6) => u128::from(v6),
    }
}

fn masked(ip: IpAddr, bits: u8) -> IpAddr {
    let host = u32::from(width(ip) - bits);
    let keep = if host >= 128 { 0 } else { number(ip) >> host << host };
    match ip {
        IpAddr::V4(_) => IpAddr::V4(std::net::Ipv4Addr::from(keep as u32)),
        IpAddr::V6(_) => IpAddr::V6(std::net::Ipv6Addr::from(keep)),
    }
}

fn contains(block: IpAddr, bits: u8, ip: IpAddr) -> bool {
    block.is_ipv4() == ip.is_ipv4() && masked(block, bits) == masked(ip, bits)
}

pub(super) fn call<'a>(name: &str, member: bool, args: &[Value<'a>]) -> Option<Result<'a>> {
    Some(match (name, member, args) {
        ("ip", false, [Value::String(s)]) => ip(s).map(Value::Ip),
        ("isIP", false, [Value::String(s)]) => Ok(Value::Bool(ip(s).is_ok())),
        ("ip.isCanonical", false, [Value::String(s)]) => ip(s).map(|ip| Value::Bool(ip.to_string() == **s)),
        ("cidr", false, [Value::String(s)]) => cidr(s).map(|(ip, bits)| Value::Cidr(ip, bits)),
        ("isCIDR", false, [Value::String(s)]) => Ok(Value::Bool(cidr(s).is_ok())),
        ("family", true, [Value::Ip(ip)]) => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        ("isUnspecified", true, [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_unspecified())),
        ("isLoopback", true, [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_loopback())),
        ("isLinkLocalMulticast", true, [Value::Ip(ip)]) => Ok(Value::Bool(match ip {
            IpAddr::V4(v4) => v4.octets()[..3] == [224, 0, 0],
            IpAddr::V6(v6) => v6.segments()[0] & 0xff0f == 0xff02,
        })),
        ("isLinkLocalUnicast", true, [Value::Ip(ip)]) => Ok(Value::Bool(link_local(*ip))),
        ("isGlobalUnicast", true, [Value::Ip(ip)]) => {
            let broadcast = matches!(ip, IpAddr::V4(v4) if v4.is_broadcast());
            let special = ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || broadcast || link_local(*ip);
            Ok(Value::Bool(!special))
        }
        ("ip", true, [Value::Cidr(ip, _)]) => Ok(Value::Ip(*ip)),
        ("masked", true, [Value::Cidr(ip, bits)]) => Ok(Value::Cidr(masked(*ip, *bits), *bits)),
        ("prefixLength", true, [Value::Cidr(_, bits)]) => Ok(Value::Int(i64::from(*bits))),
        ("containsIP", true, [Value::Cidr(block, bits), other]) => match other {
            Value::Ip(ip) => Ok(Value::Bool(contains(*block, *bits, *ip))),
            Value::String(s) => ip(s).map(|ip| Value::Bool(contains(*block, *bits, ip))),
            _ => return None,
        },
        ("containsCIDR", true, [Value::Cidr(block, bits), other]) => {
            let inner = match other {
                Value::Cidr(ip, bits) => Ok((*ip, *bits)),
                Value::String(s) => cidr(s),
                _ => return None,
            };
            inner.map(|(ip, inner)| Value::Bool(inner >= *bits && contains(*block, *bits, ip)))
        }
        _ => return None,
    })
}

fn link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => v4.is_link_local(),
        IpAddr::V6(v6) => v6.segments()[0] & 0xffc0 == 0xfe80,
    }
}
