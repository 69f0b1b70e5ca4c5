use std::time::Duration;

use tokio::time::timeout;

use super::*;

/// Long enough that what has not come by then was held back, on a busy machine too.
const SILENCE: Duration = Duration::from_millis(300);
const SOON: Duration = Duration::from_secs(10);

/// A server that answers each byte with the next one, and a client that reaches it through a proxy.
async fn counting_server_behind_a_proxy() -> Result<(FaultProxy, TcpStream, Arc<AtomicUsize>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let target = listener.local_addr()?;
    let heard = Arc::new(AtomicUsize::new(0));
    let hears = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let hears = Arc::clone(&hears);
            tokio::spawn(async move {
                while let Ok(byte) = stream.read_u8().await {
                    hears.fetch_add(1, Ordering::SeqCst);
                    if stream.write_u8(byte.wrapping_add(1)).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    let proxy = FaultProxy::start(target).await?;
    let client = TcpStream::connect(proxy.address()).await?;
    Ok((proxy, client, heard))
}

async fn answer(client: &mut TcpStream, byte: u8) -> Result<u8> {
    client.write_u8(byte).await?;
    Ok(timeout(SOON, client.read_u8()).await??)
}

#[tokio::test]
async fn cut_ends_standing_connections_and_new_ones_until_it_passes_again() -> Result<()> {
    let (proxy, mut client, heard) = counting_server_behind_a_proxy().await?;
    assert_eq!((answer(&mut client, 1).await?, proxy.open_connections()), (2, 1));
    proxy.set(Mode::Cut);
    assert!(timeout(SOON, client.read_u8()).await?.is_err(), "the standing connection was not cut");
    let mut second = TcpStream::connect(proxy.address()).await?;
    // The write may still be taken by our own kernel; the answer never comes.
    let _ = second.write_u8(1).await;
    assert!(timeout(SOON, second.read_u8()).await?.is_err(), "a new connection was not cut");
    assert_eq!(heard.load(Ordering::SeqCst), 1);
    proxy.set(Mode::Pass);
    let mut third = TcpStream::connect(proxy.address()).await?;
    assert_eq!(answer(&mut third, 7).await?, 8);
    Ok(())
}

#[tokio::test]
async fn delay_holds_each_direction_for_its_time_and_keeps_the_order() -> Result<()> {
    let (proxy, mut client, _) = counting_server_behind_a_proxy().await?;
    proxy.set(Mode::Delay(Duration::from_millis(200)));
    let started = Instant::now();
    client.write_all(&[10, 20, 30]).await?;
    let mut answers = [0; 3];
    timeout(SOON, client.read_exact(&mut answers)).await??;
    let took = started.elapsed();
    assert_eq!(answers, [11, 21, 31]);
    assert!(took >= Duration::from_millis(400), "there and back took only {took:?}");
    Ok(())
}

#[tokio::test]
async fn a_black_hole_swallows_in_silence_and_delivers_late_when_it_heals() -> Result<()> {
    let (proxy, mut client, heard) = counting_server_behind_a_proxy().await?;
    assert_eq!(answer(&mut client, 1).await?, 2);
    proxy.set(Mode::BlackHole);
    client.write_u8(5).await?;
    assert!(timeout(SILENCE, client.read_u8()).await.is_err(), "something came out of the black hole");
    assert_eq!((heard.load(Ordering::SeqCst), proxy.open_connections()), (1, 1));
    proxy.set(Mode::Pass);
    assert_eq!(timeout(SOON, client.read_u8()).await??, 6);
    assert_eq!(heard.load(Ordering::SeqCst), 2);
    Ok(())
}

#[tokio::test]
async fn dropped_responses_lose_the_answer_but_not_the_request() -> Result<()> {
    let (proxy, mut client, heard) = counting_server_behind_a_proxy().await?;
    proxy.set(Mode::DropResponses);
    client.write_u8(5).await?;
    assert!(timeout(SILENCE, client.read_u8()).await.is_err(), "the answer came through");
    assert_eq!(heard.load(Ordering::SeqCst), 1, "the request was lost too");
    proxy.set(Mode::Pass);
    assert!(timeout(SOON, client.read_u8()).await?.is_err(), "a stream with a hole in it went on");
    Ok(())
}
