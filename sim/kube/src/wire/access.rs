//! Reviews and token requests: objects that are answered and never stored.

use http::{Method, Response, StatusCode};
use sim_net::http::Body;

use super::{RequestContext, negotiate::body, respond::made};
use crate::{
    access::{self, AccessReview},
    server::ApiServer,
    status::{About, Status},
};

/// Whether a request is for a review.
pub(super) fn is_review(context: &RequestContext) -> bool {
    let info = &context.info;
    let asked = (info.group.as_str(), info.version.as_str(), info.resource.as_str(), info.subresource.as_str());
    let local = !info.namespace.is_empty();
    match asked {
        ("authentication.k8s.io", "v1", "tokenreviews" | "selfsubjectreviews", "")
        | (
            "authorization.k8s.io",
            "v1",
            "subjectaccessreviews" | "selfsubjectaccessreviews" | "selfsubjectrulesreviews",
            "",
        ) => !local,
        ("authorization.k8s.io", "v1", "localsubjectaccessreviews", "") | ("", "v1", "serviceaccounts", "token") => {
            local
        }
        _ => false,
    }
}

/// Answers a request for a review.
///
/// # Errors
/// 405 for anything but creating; what the review itself says.
pub(super) fn answer(server: &ApiServer, context: &RequestContext) -> Result<Response<Body>, Status> {
    let info = &context.info;
    if context.method != Method::POST || (!info.name.is_empty() && info.subresource.is_empty()) {
        return Err(Status::method_not_allowed(About { group: &info.group, plural: &info.resource, kind: "" }));
    }
    let review = body(context)?;
    let user = &context.user;
    let answer = match info.resource.as_str() {
        "tokenreviews" => access::token_review(server, &review)?,
        "selfsubjectreviews" => access::self_subject_review(user, &review),
        "subjectaccessreviews" => access::access_review(server, AccessReview::Subject, &review)?,
        "selfsubjectaccessreviews" => access::access_review(server, AccessReview::Own(user), &review)?,
        "selfsubjectrulesreviews" => access::rules_review(server, user, &review)?,
        "localsubjectaccessreviews" => access::access_review(server, AccessReview::Local(&info.namespace), &review)?,
        _ => access::token_request(server, &info.namespace, &info.name, &review, sim_clock::now())?,
    };
    Ok(made(context.header("accept"), StatusCode::CREATED, &answer, &[]))
}
