//! A client that guesses keys, behind the same address as a client with a valid key.

use http::{HeaderMap, Request, Version};

use super::*;

/// A server in front of a stage, and the form of its requests.
#[derive(Debug, Clone, Copy)]
enum Place {
    Http(Framework, Version),
    #[cfg(feature = "tonic")]
    Grpc,
}

impl Place {
    async fn serve(self, stage: &Stage) -> SocketAddr {
        match self {
            Self::Http(Framework::Axum, _) => serve_axum::serve(stage).await,
            Self::Http(Framework::Actix, _) => serve_actix::serve(stage).await,
            Self::Http(Framework::Hyper, _) => serve_hyper::serve(stage).await,
            #[cfg(feature = "tonic")]
            Self::Grpc => serve_tonic::serve(stage).await,
        }
    }

    /// Sends a request, with these headers. Returns the status of HTTP or of gRPC, and the headers.
    async fn send(self, address: SocketAddr, headers: &[(&'static str, &str)]) -> (u16, HeaderMap) {
        let (method, version, path) = match self {
            Self::Http(_, version) => ("GET", version, "/v1/data"),
            #[cfg(feature = "tonic")]
            Self::Grpc => ("POST", Version::HTTP_2, "/v1/data"),
        };
        let origin = if version == Version::HTTP_2 { format!("http://{address}") } else { String::new() };
        let request = Request::builder().method(method).uri(origin + path).version(version);
        let request = if version == Version::HTTP_2 { request } else { request.header("host", "acme") };
        #[cfg(feature = "tonic")]
        let request = match self {
            Self::Grpc => request.header("content-type", "application/grpc").header("te", "trailers"),
            Self::Http(..) => request,
        };
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        // An empty message, for gRPC.
        let body = if method == "POST" { Bytes::from_static(&[0; 5]) } else { Bytes::new() };
        let sent = client::send(address, request.body(Full::from(body)).unwrap()).await;
        let answer = sent.answer.await.unwrap().unwrap();
        let code = answer.headers().get("grpc-status").map(|code| code.to_str().unwrap().parse().unwrap());
        (code.unwrap_or(answer.status().as_u16()), answer.headers().clone())
    }
}

#[tokio::test]
async fn good_key_is_served_beside_a_guesser() {
    let mut places = Vec::new();
    for framework in [Framework::Axum, Framework::Actix, Framework::Hyper] {
        places.extend([Version::HTTP_11, Version::HTTP_2].map(|version| Place::Http(framework, version)));
    }
    #[cfg(feature = "tonic")]
    places.push(Place::Grpc);
    for (place, later) in places.into_iter().flat_map(|place| [(place, false), (place, true)]) {
        let (served, denied, limited) = match place {
            Place::Http(..) => (200, 401, 429),
            #[cfg(feature = "tonic")]
            Place::Grpc => (200, 16, 8),
        };
        let stage = Stage::of_guesses(later);
        stage.world.plain_key(&key("good"));
        let address = place.serve(&stage).await;
        let (good, nobody) = (key("good"), [("x-forwarded-for", "203.0.113.9")]);
        let with_key =
            |key: &str| [nobody[0], ("x-api-key", key)].map(|(name, value)| (name, value.to_owned()));
        let send = async |key: &str| {
            let headers = with_key(key);
            let headers = headers.each_ref().map(|(name, value)| (*name, value.as_str()));
            place.send(address, &headers).await
        };
        assert_eq!(send(&good).await.0, served, "{place:?} {later}");
        for number in 0..10 {
            let (status, headers) = send(&key(&format!("guess {number}"))).await;
            let expected = if number < 3 { denied } else { limited };
            assert_eq!(status, expected, "{place:?} {later} {number}");
            if status == 429 {
                assert_eq!(headers["retry-after"], "20");
                assert_eq!((headers.get("www-authenticate"), headers.get("vary")), (None, None));
                assert_eq!(headers["cache-control"], "no-store");
            }
            if status == 8 {
                assert_eq!(headers["grpc-retry-pushback-ms"], "20000");
            }
            assert_eq!(send(&good).await.0, served, "{place:?} {later} {number}");
        }
        assert_eq!(place.send(address, &nobody).await.0, limited, "{place:?} {later}");
        let elsewhere = [("x-forwarded-for", "203.0.113.10")];
        assert_eq!(place.send(address, &elsewhere).await.0, denied, "{place:?} {later}");
    }
}
