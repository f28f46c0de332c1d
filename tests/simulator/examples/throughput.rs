//! How many records a second the simulator serves in pages of 500, to clients that only count bytes.
//!
//! `cargo run --release -p simulator --example throughput`

use std::time::{Duration, Instant};

use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const CONNECTIONS: usize = 4;
const SECONDS: u64 = 5;
const PAGE: usize = 500;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let simulator = Simulator::start(Options {
        people: 500,
        days: 100,
        remember_requests: 0,
        ..Options::default()
    })
    .await?;
    let secret: serde_json::Value = serde_json::from_str(&simulator.secret_json())?;
    let address = simulator
        .base_uri()
        .trim_start_matches("http://")
        .to_owned();
    let form = format!(
        "grant_type=client_credentials&client_id={}&client_secret={}&scope=connector-protimeapi-clockings.read",
        secret["client_id"].as_str().unwrap_or_default(),
        secret["client_secret"].as_str().unwrap_or_default()
    );
    let post = format!(
        "POST /tenants/acme/connect/token HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{form}",
        form.len()
    );
    let mut connection = TcpStream::connect(&address).await?;
    let body = exchange(&mut connection, &post, &mut Vec::new()).await?;
    let token: serde_json::Value = serde_json::from_slice(&body)?;
    let get = format!(
        "GET /connector/protimeapi/api/v1/clockings?filter=date+ge+%272020-01-01%27 HTTP/1.1\r\nhost: x\r\nuser-agent: x\r\nauthorization: Bearer {}\r\n\r\n",
        token["access_token"].as_str().unwrap_or_default()
    );
    // The first answer makes the records.
    exchange(&mut connection, &get, &mut Vec::new()).await?;

    let started = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..CONNECTIONS {
        let (address, get) = (address.clone(), get.clone());
        tasks.push(tokio::spawn(async move {
            let mut connection = TcpStream::connect(&address).await?;
            let (mut pages, mut bytes, mut buffer) = (0, 0, Vec::new());
            while started.elapsed() < Duration::from_secs(SECONDS) {
                bytes += exchange(&mut connection, &get, &mut buffer).await?.len();
                pages += 1;
            }
            std::io::Result::Ok((pages, bytes))
        }));
    }
    let (mut pages, mut bytes) = (0, 0);
    for task in tasks {
        let (more_pages, more_bytes) = task.await??;
        pages += more_pages;
        bytes += more_bytes;
    }
    let seconds = started.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    let (records, megabytes) = (
        (pages * PAGE) as f64 / seconds,
        bytes as f64 / seconds / 1e6,
    );
    #[expect(clippy::print_stdout, reason = "its purpose")]
    {
        println!(
            "{records:.0} records/s in pages of {PAGE}, {megabytes:.0} MB/s, {CONNECTIONS} connections"
        );
    }
    Ok(())
}

/// Sends a request and reads the answer's body, which has a length.
async fn exchange(
    connection: &mut TcpStream,
    request: &str,
    buffer: &mut Vec<u8>,
) -> std::io::Result<Vec<u8>> {
    connection.write_all(request.as_bytes()).await?;
    buffer.clear();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let length = connection.read(&mut chunk).await?;
        if length == 0 {
            return Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof));
        }
        buffer.extend_from_slice(&chunk[..length]);
        let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&buffer[..end]).to_ascii_lowercase();
        let expected: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .and_then(|length| length.trim().parse().ok())
            .unwrap_or(0);
        while buffer.len() < end + 4 + expected {
            let length = connection.read(&mut chunk).await?;
            buffer.extend_from_slice(&chunk[..length]);
        }
        return Ok(buffer[end + 4..].to_vec());
    }
}
