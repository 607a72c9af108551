//! Requests: no body panics the reader, and what it takes reads back to the same request with the same digest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slowburn::gate::Request;

fuzz_target!(|body: &[u8]| {
    let Ok(request) = Request::parse(body) else { return };
    let text = serde_json::to_vec(&request).expect("a request has a JSON form");
    let again = Request::parse(&text).expect("what was read reads back");
    assert_eq!((again.digest(), &again), (request.digest(), &request));
    for name in [&request.service, &request.resource] {
        assert!(!name.is_empty() && !name.contains('*'), "nothing is not everything");
    }
});
