//! A bot that accepts every request and says back what it hears.
//!
//! ```sh
//! cargo run -p sotto-peer-client --example echo_bot -- http://127.0.0.1:8080 echo /tmp/echo-bot
//! sotto chat @echo
//! ```
//!
//! It may be killed at any moment: notifications are kept until they are acknowledged, so that it answers after a
//! restart what it had not answered. Only an answer whose acknowledgement was lost would be said twice.

use std::collections::BTreeMap;

use sotto_peer_client::{Client, Error, Event, MessageBody, Notification, Profile};
use sotto_protocol::Handle;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(server), Some(handle), Some(folder)) = (arguments.next(), arguments.next(), arguments.next())
    else {
        return Err("usage: echo_bot SERVER HANDLE FOLDER".into());
    };
    let builder = Client::builder(&folder).keep_events(true);
    let known = Profile::open(&folder).await?.identity()?.is_some();
    if !known {
        builder.sign_up(&server, Handle::parse(&handle)?, None).await?;
    }

    let (client, mut events) = builder.open_with_events().await?;
    println!("@{} listens", client.handle());
    // What was not acknowledged before the last end comes again, among what happens now.
    client.replay_events(0).await?;
    let mut kept = BTreeMap::new();
    while let Some(notification) = events.try_next() {
        kept.insert(notification.sequence, notification);
    }
    let mut last = 0;
    for notification in kept.into_values() {
        answer(&client, &notification, &mut last).await?;
    }
    loop {
        tokio::select! {
            notification = events.next() => match notification {
                Some(notification) => answer(&client, &notification, &mut last).await?,
                None => return Err(client.ended().await.into()),
            },
            _ = tokio::signal::ctrl_c() => break,
        }
    }
    client.close().await?;
    Ok(())
}

async fn answer(client: &Client, notification: &Notification, last: &mut u64) -> Result<(), Error> {
    // Presence and the like are worth knowing only at the time: not numbered, not kept.
    if notification.sequence <= *last {
        return Ok(());
    }
    match &notification.event {
        Event::Conversation(conversation) if conversation.request => client.accept(conversation.id).await?,
        Event::Message(message) if !message.own => {
            if let MessageBody::Text(text) = &message.body {
                client.send(message.id.conversation, text).await?;
            }
        }
        _ => {}
    }
    *last = notification.sequence;
    client.ack_events(*last).await
}
