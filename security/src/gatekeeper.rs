//! Stands before a server: finds out who calls, keeps that with the request, and refuses by the request's
//! path. A path that no rule names is refused to everybody but the trusted, so a new one can't be served
//! before somebody has decided who may use it.

use std::sync::Arc;
use std::task::{Context, Poll};

use futures::future::{Either, Ready, ready};
use http::{Request, Response, StatusCode, header};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use crate::authority::{Caller, Deed, Denied};
use crate::connection::Origin;
use crate::tokens::Tokens;

/// What a path needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// This, whatever the request holds.
    Deed(Deed),
    /// It depends on the decoded request: whoever decodes it asks the [`Caller`].
    Decoded,
}

/// Puts a [`Gatekeeper`] before a server.
#[derive(Clone)]
pub struct GatekeeperLayer {
    tokens: Arc<Tokens>,
    rules: fn(&str) -> Option<Rule>,
    status: fn(Denied) -> Status,
}

impl std::fmt::Debug for GatekeeperLayer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GatekeeperLayer")
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

impl GatekeeperLayer {
    /// `rules`: what each path needs; `status`: a refusal as gRPC callers are told it.
    pub fn new(
        tokens: Arc<Tokens>,
        rules: fn(&str) -> Option<Rule>,
        status: fn(Denied) -> Status,
    ) -> Self {
        Self {
            tokens,
            rules,
            status,
        }
    }

    fn admit(&self, caller: &Caller, path: &str) -> Result<(), Denied> {
        match (self.rules)(path) {
            Some(Rule::Deed(deed)) => caller.may(deed),
            Some(Rule::Decoded) => Ok(()),
            None if caller.is_trusted() => Ok(()),
            None => Err(Denied("there is nothing here".to_owned())),
        }
    }
}

impl<S> Layer<S> for GatekeeperLayer {
    type Service = Gatekeeper<S>;

    fn layer(&self, inner: S) -> Gatekeeper<S> {
        Gatekeeper {
            inner,
            layer: self.clone(),
        }
    }
}

/// A server with a gatekeeper before it.
#[derive(Debug, Clone)]
pub struct Gatekeeper<S> {
    inner: S,
    layer: GatekeeperLayer,
}

impl<S, B> Service<Request<B>> for Gatekeeper<S>
where
    S: Service<Request<B>, Response = Response<Body>>,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Either<Ready<Result<Response<Body>, S::Error>>, S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let origin = request.extensions().get::<Option<Origin>>();
        let origin = origin.and_then(Option::as_ref);
        let authorization = request.headers().get(header::AUTHORIZATION);
        let shown = authorization.map(http::HeaderValue::as_bytes);
        let caller = Caller::of(origin, shown, &self.layer.tokens);
        if let Err(denied) = self.layer.admit(&caller, request.uri().path()) {
            let path = request.uri().path();
            // Strangers can't fill the log.
            match caller.identity() {
                Some(_) => tracing::info!(%caller, path, "refused: {denied}"),
                None => tracing::debug!(path, "refused: {denied}"),
            }
            let answer = refusal(&request, denied, self.layer.status);
            return Either::Left(ready(Ok(answer)));
        }
        request.extensions_mut().insert(caller);
        Either::Right(self.inner.call(request))
    }
}

/// In the words of whoever asked: gRPC or plain HTTP.
fn refusal<B>(
    request: &Request<B>,
    denied: Denied,
    status: fn(Denied) -> Status,
) -> Response<Body> {
    let kind = request.headers().get(header::CONTENT_TYPE);
    let is_grpc = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    if is_grpc {
        return status(denied).into_http();
    }
    let mut answer = Response::new(Body::new(format!("{denied}\n")));
    *answer.status_mut() = StatusCode::FORBIDDEN;
    answer
}
