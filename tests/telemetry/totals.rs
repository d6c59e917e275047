//! A flash sale, and metrics that say what its own table says.

use redlatch_support::{Server, unique_name};

use crate::{
    kit::{Meter, close, plain, secs},
    sale::{Sale, Table},
};

#[tokio::test]
async fn metrics_scraped_from_a_running_sale_agree_with_its_table() {
    let (server, meter) = (Server::start(), Meter::install());
    let clients = [plain(server.url()).await, plain(server.url()).await];
    let sale = Sale {
        name: unique_name("sale"),
        stock: 200,
        sellers: 8,
    };
    let mut running = tokio::spawn({
        let (url, clients) = (server.url(), clients.clone());
        async move { sale.run(&url, &clients).await }
    });
    // Scraped all the while: one holds at a time, by what the holders know at least, and totals only rise.
    let (mut scrapes, mut granted, mut waited) = (0, 0.0, false);
    let table = loop {
        tokio::select! {
            biased;
            table = &mut running => break table.expect("joins").expect("each piece is sold once"),
            () = tokio::time::sleep(crate::kit::ms(2)) => {}
        }
        let now = meter.acquires("reentrant", "granted");
        assert!(now >= granted, "{now} after {granted}");
        granted = now;
        assert!(meter.waiters() <= 8.0, "{}", meter.page());
        waited |= meter.waiters() > 0.0;
        scrapes += 1;
    };
    assert!(scrapes > 10 && waited, "{scrapes} scrapes");
    let Table {
        sold,
        granted,
        busy,
        timed_out,
        cancelled,
    } = table;
    println!("{table}");
    assert_eq!(sold, 200);
    assert!(busy > 0 && timed_out > 0 && cancelled > 0, "{table}");
    assert_eq!(table.differences(&meter.page()), Vec::<String>::new());

    // Given up when it was granted already: such a hold is given back as well.
    meter
        .until("all is given back", |meter| meter.holds() == 0.0)
        .await;
    let stats = clients.each_ref().map(|client| client.stats());
    let total = |figure: fn(&redlatch::Stats) -> u64| stats.iter().map(figure).sum::<u64>() as f64;
    let orphans = total(|stats| stats.orphans_released);
    assert!(meter.ends("released") >= granted as f64);
    assert_eq!(meter.ends("released"), total(|stats| stats.grants));
    assert!(total(|stats| stats.grants) <= granted as f64 + orphans);
    assert_eq!(
        meter.sum("redlatch_hand_overs_total", &[("kind", "reentrant")]),
        total(|stats| stats.hand_overs)
    );
    assert_eq!(
        meter.woken_by("message"),
        total(|stats| stats.wakeups_by_message)
    );
    for client in clients {
        assert!(client.stats().hand_overs > 0);
        client.close(secs(5)).await;
    }
    // A figure that is off by one is a difference.
    let wrong = Table {
        granted: granted + 1,
        ..table
    };
    assert_eq!(wrong.differences(&meter.page()).len(), 1);
    let alone = plain(server.url()).await;
    close(alone).await;
}
