//! Asking over TLS, by a client of the test's own.

use std::{io, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use multigres_operator::{
    host::{BoxedIo, Connector, NoFiles},
    tls::client::{ClientTls, HttpsConnector, Trust},
};
use tokio::net::TcpStream;

fn tcp() -> Connector {
    Connector::new(|uri: Uri| -> BoxFuture<'static, io::Result<BoxedIo>> {
        Box::pin(async move {
            let address = uri.authority().map(ToString::to_string).unwrap_or_default();
            Ok(Box::new(TcpStream::connect(address).await?) as BoxedIo)
        })
    })
}

/// GETs a path; the status and the body. Whoever answers is believed.
pub fn get(address: SocketAddr, path: &str, token: Option<&str>) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let tls = ClientTls { trust: Trust::Anybody, ..ClientTls::default() };
        let client: Client<_, Full<Bytes>> =
            Client::builder(TokioExecutor::new()).build(HttpsConnector::new(tcp(), Arc::new(NoFiles), tls));
        let mut request = Request::get(format!("https://{address}{path}"));
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let answer = client.request(request.body(Full::default()).unwrap()).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    })
}
