//! Whoever is told of alerts: the far end of Alertmanager's webhooks.
//!
//! The deployed receivers post to the Service `notifications`, which a cluster provides. Here it is a host that takes
//! everything and writes one line of JSON for each notification, as a bridge to somebody's pager would.

use crate::logs::LogWriter;
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};
use sim_net::{NameTarget, Network, http as sim_http};

/// The name that the deployed receivers post to.
pub const NAME: &str = "notifications.multigres-operator.svc";
/// The host's name, for faults.
pub const HOST: &str = "notifications";
/// Its address.
const ADDRESS: std::net::Ipv4Addr = std::net::Ipv4Addr::new(10, 255, 255, 1);
/// Its port.
pub const PORT: u16 = 8080;
/// The program whose lines tell what came.
pub const PROGRAM: &str = "notifications";

/// Lets a host take notifications and write them to `log`.
pub(crate) fn listen(network: &Network, log: LogWriter) -> std::io::Result<()> {
    // An address of its own, beside those that pods get in turn.
    let host = network.host_with(HOST, ADDRESS, 1..=1);
    network.set_name(NAME, NameTarget::Addresses(vec![host.ip()]));
    let listener = host.listen(PORT)?;
    sim_clock::spawn(
        "notifications",
        sim_http::serve(listener, sim_http::Limits::default(), move |request| {
            let response = take(&request, &log);
            async move { response }
        }),
    );
    Ok(())
}

fn take(request: &Request<bytes::Bytes>, log: &LogWriter) -> Response<sim_http::Body> {
    let Ok(body) = serde_json::from_slice::<Value>(request.body()) else {
        return sim_http::response(StatusCode::BAD_REQUEST, "text/plain", "a notification is JSON\n");
    };
    let line = json!({
        "level": "info",
        "ts": sim_clock::now().rfc3339_millis(),
        "msg": "notified",
        "to": request.uri().path().trim_start_matches('/'),
        "notification": body,
    });
    log(&line.to_string());
    sim_http::response(StatusCode::OK, "text/plain", "")
}
