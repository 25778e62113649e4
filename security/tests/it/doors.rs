//! Doors let in whom they should, and go on doing so whatever strangers do.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt;
use regent_certificates::{Authority, Wanted};
use regent_security::{Connection, Credentials, Dialer, Door, DoorLimits, Role, Security};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::{config, tls};

/// Nothing in these tests may take longer.
const PATIENCE: Duration = Duration::from_secs(10);
const LIMITS: DoorLimits = DoorLimits {
    connections: 8,
    handshake: Duration::from_secs(5),
};

fn for_peers(security: &Security, limits: DoorLimits) -> Door {
    Door::for_members(security, &[Role::Peer], limits)
}

/// A door whose connections come out of a channel.
struct House {
    address: SocketAddr,
    came: mpsc::Receiver<Connection>,
    _dir: tempfile::TempDir,
    authority: Authority,
}

impl House {
    async fn open(limits: DoorLimits, make: fn(&Security, DoorLimits) -> Door) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::new(dir.path());
        let issued = authority.issue("house", &Wanted::process("regent://peer/jm-1"));
        let security = Security::load(&config(&issued), &[Role::Peer], &["127.0.0.1"]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = make(&security, limits).open(listener);
        let (sender, came) = mpsc::channel(64);
        tokio::spawn(async move {
            while let Some(Ok(connection)) = incoming.next().await {
                if sender.send(connection).await.is_err() {
                    return;
                }
            }
        });
        Self {
            address,
            came,
            _dir: dir,
            authority,
        }
    }

    fn dialer(&self, uri: &str) -> Dialer {
        let issued = self.authority.issue("guest", &Wanted::process(uri));
        Dialer::new(Some(
            &Credentials::load(&tls(&issued), &Role::ALL, &[]).unwrap(),
        ))
    }

    async fn dial(&self, dialer: &Dialer) -> std::io::Result<Connection> {
        let expected = [Role::Peer];
        let address = self.address.to_string();
        let dialled = timeout(PATIENCE, dialer.open(&address, &expected)).await;
        dialled.unwrap()
    }

    /// What arrives within the house after one byte was sent.
    async fn hear(&mut self, mut from: Connection) -> (Connection, Connection) {
        from.write_all(b"x").await.unwrap();
        from.flush().await.unwrap();
        let mut inside = timeout(PATIENCE, self.came.recv()).await.unwrap().unwrap();
        let mut byte = [0];
        timeout(PATIENCE, inside.read_exact(&mut byte))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&byte, b"x");
        (from, inside)
    }
}

/// Whether the other side hangs up without a word.
async fn hangs_up(mut stream: impl tokio::io::AsyncRead + Unpin) -> bool {
    let mut byte = [0];
    let read = timeout(PATIENCE, stream.read(&mut byte)).await.unwrap();
    matches!(read, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_member_comes_in_and_a_stranger_does_not() {
    let mut house = House::open(LIMITS, for_peers).await;
    let guest = house
        .dial(&house.dialer("regent://worker/tm-1"))
        .await
        .unwrap();
    let _open = house.hear(guest).await;
    let issued = house
        .authority
        .issue("s", &Wanted::process("regent://peer/x"));
    let credentials = Credentials::load(&tls(&issued), &Role::ALL, &[]).unwrap();
    // Over TLS 1.3 the refusal comes after the client's own side of the handshake.
    if let Ok(stranger) = house.dial(&Dialer::stranger(&credentials)).await {
        assert!(hangs_up(stranger).await);
    }
    let elsewhere = tempfile::tempdir().unwrap();
    let foreign =
        Authority::new(elsewhere.path()).issue("f", &Wanted::process("regent://peer/jm-1"));
    let foreign = Credentials::load(&tls(&foreign), &Role::ALL, &[]).unwrap();
    let error = house.dial(&Dialer::new(Some(&foreign))).await.unwrap_err();
    assert!(
        error.to_string().contains("isn't signed by the authority"),
        "{error}"
    );
    assert!(house.came.try_recv().is_err());
}

#[tokio::test]
async fn whoever_answers_must_have_the_role_that_is_expected() {
    let house = House::open(LIMITS, for_peers).await;
    let dialer = house.dialer("regent://worker/tm-1");
    let address = house.address.to_string();
    let error = dialer.open(&address, &[Role::Worker]).await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("peer:jm-1 answers there, a worker was expected"),
        "{error}"
    );
    let port = house.address.port();
    let unnamed = dialer
        .open(&format!("127.0.0.2:{port}"), &[Role::Peer])
        .await;
    assert!(
        unnamed.is_err(),
        "nobody listens there, and the certificate isn't valid for it"
    );
}

#[tokio::test]
async fn noise_and_silence_end_nothing_but_themselves() {
    let limits = DoorLimits {
        handshake: Duration::from_millis(200),
        ..LIMITS
    };
    let mut house = House::open(limits, Door::for_all).await;
    let silent = TcpStream::connect(house.address).await.unwrap();
    assert!(hangs_up(silent).await, "the handshake has a limit");
    for noise in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x16, 3, 1, 255, 255],
    ] {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(noise).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // An alert may come; then the end does.
        let _ = timeout(PATIENCE, stream.read_to_end(&mut rest))
            .await
            .unwrap();
    }
    let guest = house
        .dial(&house.dialer("regent://peer/jm-2"))
        .await
        .unwrap();
    let _open = house.hear(guest).await;
}

#[tokio::test]
async fn strangers_get_a_quarter_of_the_places_and_members_the_rest() {
    let mut house = House::open(LIMITS, Door::for_all).await;
    let issued = house
        .authority
        .issue("s", &Wanted::client("regent://client/x"));
    let credentials = Credentials::load(&tls(&issued), &Role::ALL, &[]).unwrap();
    let stranger = Dialer::stranger(&credentials);
    let mut open = Vec::new();
    for _ in 0..2 {
        let guest = house.dial(&stranger).await.unwrap();
        open.push(house.hear(guest).await);
    }
    assert!(
        house.dial(&stranger).await.is_err(),
        "two of eight are for strangers"
    );
    // A member whose handshake would need a stranger's place has to wait for one, too.
    let gone = open.pop();
    drop(gone);
    let member = house.dialer("regent://operator/anna");
    for _ in 0..7 {
        let guest = dial_again(&house, &member).await;
        open.push(house.hear(guest).await);
    }
    let ninth = house.dial(&member).await;
    assert!(ninth.is_err(), "eight are open");
    open.clear();
    let guest = dial_again(&house, &member).await;
    let _open = house.hear(guest).await;
}

#[tokio::test]
async fn members_with_no_business_there_leave_room_for_those_who_have() {
    let mut house = House::open(LIMITS, for_peers).await;
    let mut open = Vec::new();
    let client = house.dialer("regent://admin/anna");
    for _ in 0..2 {
        let guest = house.dial(&client).await.unwrap();
        open.push(house.hear(guest).await);
    }
    assert!(
        house.dial(&client).await.is_err(),
        "two of eight are for others"
    );
    drop(open.pop());
    let peer = house.dialer("regent://peer/jm-2");
    for _ in 0..7 {
        let guest = dial_again(&house, &peer).await;
        open.push(house.hear(guest).await);
    }
}

/// Places are given back when the other side has noticed; until then the door stays shut.
async fn dial_again(house: &House, dialer: &Dialer) -> Connection {
    for _ in 0..500 {
        if let Ok(connection) = house.dial(dialer).await {
            return connection;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("no place was given back within {PATIENCE:?}");
}

#[tokio::test]
async fn whoever_says_nothing_is_shown_out_and_whoever_asks_may_take_time() {
    let limits = DoorLimits {
        handshake: Duration::from_millis(300),
        ..LIMITS
    };
    let mut house = House::open(limits, for_peers).await;
    let dialer = house.dialer("regent://worker/tm-1");
    for said in ["", "PRI * HTTP/2.0"] {
        let mut guest = house.dial(&dialer).await.unwrap();
        guest.write_all(said.as_bytes()).await.unwrap();
        guest.flush().await.unwrap();
        let mut inside = timeout(PATIENCE, house.came.recv()).await.unwrap().unwrap();
        let mut heard = Vec::new();
        let read = timeout(PATIENCE, inside.read_to_end(&mut heard)).await;
        let error = read.unwrap().unwrap_err();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::TimedOut,
            "{said}: {error}"
        );
        assert_eq!(heard, said.as_bytes());
    }
    let guest = house.dial(&dialer).await.unwrap();
    let (_guest, mut inside) = house.hear(guest).await;
    let mut more = [0];
    let read = timeout(limits.handshake * 3, inside.read(&mut more)).await;
    assert!(read.is_err(), "an open conversation is left alone");
}
