//! By way of a proxy, as companies have them.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use layerwise::checkpoint::hub::{HubSettings, Proxies};

use crate::hub_bench::*;

/// A proxy on the loopback interface that keeps the requests that come to it. It runs until the tests end.
struct Proxy {
    address: String,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("an address").to_string();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let all = Arc::clone(&all);
                thread::spawn(move || tunnel(stream, &all));
            }
        });
        Proxy { address, seen }
    }

    fn seen(&self) -> Vec<String> {
        self.seen.lock().expect("no test panics while it holds the requests").clone()
    }
}

fn tunnel(client: TcpStream, seen: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
    seen.lock().expect("no test panics while it holds the requests").push(request.clone());
    let target = request.split_whitespace().nth(1).unwrap_or_default();
    let server = TcpStream::connect(target)?;
    (&client).write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let (mut to, mut from) = (server.try_clone()?, server);
    let up = thread::spawn(move || {
        let _ = io::copy(&mut reader, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer)? {
            0 => break,
            read => (&client).write_all(&buffer[..read])?,
        }
    }
    let _ = client.shutdown(Shutdown::Write);
    let _ = up.join();
    Ok(())
}

/// The settings under these variables.
fn proxies(variables: &[(&str, String)]) -> Proxies {
    let find = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
    Proxies::from_lookup(&find)
}

#[test]
fn the_proxy_of_the_environment_is_used() {
    let proxy = Proxy::start();
    let mut bench = Bench::new(tiny());
    bench.settings.proxies = proxies(&[("HTTP_PROXY", format!("http://user:pass@{}", proxy.address))]);
    bench.assert_gets_all();
    let seen = proxy.seen();
    assert_eq!(seen.len(), bench.server.seen().len(), "{seen:?}");
    for request in &seen {
        assert_says(request, &["CONNECT ", "Proxy-Authorization: Basic dXNlcjpwYXNz"]);
    }
    assert!(!format!("{:?}", bench.settings).contains("pass"));
}

#[test]
fn what_needs_no_proxy_gets_none() {
    let proxy = Proxy::start();
    let mut bench = Bench::new(tiny());
    // The storage is at `localhost`, the hub at an address.
    let variables = [("ALL_PROXY", proxy.address.clone()), ("no_proxy", "example.com, localhost".to_owned())];
    bench.settings.proxies = proxies(&variables);
    bench.assert_gets_all();
    let (seen, all) = (proxy.seen(), bench.server.seen());
    assert!(seen.iter().all(|request| request.starts_with("CONNECT 127.0.0.1:")), "{seen:?}");
    assert_eq!(seen.len(), all.iter().filter(|seen| !seen.storage).count());
    let elsewhere = [("HTTPS_PROXY", proxy.address.clone())];
    let settings = HubSettings { proxies: proxies(&elsewhere), ..Bench::new(tiny()).settings };
    assert!(format!("{settings:?}").contains(&proxy.address));
}

#[test]
fn a_proxy_that_is_not_there_is_an_error() {
    let mut bench = Bench::new(tiny());
    bench.settings.proxies = proxies(&[("HTTP_PROXY", "127.0.0.1:9".to_owned())]);
    assert_says(&bench.error(), &["cannot get", ID, "refused"]);
}
