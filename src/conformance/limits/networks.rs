//! Checks of windows that count the networks of clients.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::{DAY, Limiter, TestKey, policy};
use crate::account::{NetworkCut, QuotaScope};
use crate::amount::random;
use crate::conformance::fresh;
use crate::conformance::suite::{Check, Fault, Verdict, holds, same};

pub(super) fn checks(limiter: &Limiter) -> Vec<Check> {
    checks![limiter:
        clients_of_a_network_share_its_window,
        two_networks_share_no_window,
        networks_of_two_cuts_share_no_window,
        mapped_addresses_are_ipv4,
        key_and_network_give_all_or_nothing,
        a_draw_without_the_counted_owner_fails,
    ]
}

/// Returns an address of a network, of 64 bits, that no other check uses.
pub(super) fn address() -> Ipv6Addr {
    Ipv6Addr::from_bits(0x2001_0db8 << 96 | u128::from(random() >> 32) << 64 | 1)
}

#[expect(clippy::cast_possible_truncation, reason = "the low bits suffice")]
fn ipv4_address() -> Ipv4Addr {
    Ipv4Addr::from_bits(random() as u32)
}

pub(super) fn next(address: Ipv6Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(address.to_bits() + 1)
}

fn scope(ipv6: u8) -> Result<QuotaScope, Fault> {
    let cut = NetworkCut::new(32, ipv6).map_err(|error| Fault::new(error.to_string()))?;
    Ok(QuotaScope::Network(cut))
}

/// Returns a new key that is used from an address, with quotas per day.
fn caller(limiter: &Limiter, address: IpAddr, quotas: &[(u32, QuotaScope)]) -> Result<TestKey, Fault> {
    let policies = quotas.iter().map(|(quota, counts)| policy(*quota, DAY, counts.clone()));
    let key = TestKey::with(limiter.clone(), policies.collect::<Result<_, _>>()?);
    Ok(TestKey { address: Some(address), ..key })
}

async fn clients_of_a_network_share_its_window(limiter: Limiter) -> Verdict {
    let address = address();
    let one = caller(&limiter, address.into(), &[(3, scope(64)?)])?;
    let other = TestKey { address: Some(next(address).into()), ..one.other(&Arc::new(fresh::account())) };
    let keyless = other.keyless();
    same("how many of 1 the one key is admitted, of 3", one.admitted(1).await?, 1)?;
    same("how many of 1 another account's key is admitted", other.admitted(1).await?, 1)?;
    same("how many of 2 without a key are admitted, of 1", keyless.admitted(2).await?, 1)
}

async fn two_networks_share_no_window(limiter: Limiter) -> Verdict {
    let one = caller(&limiter, address().into(), &[(2, scope(64)?)])?;
    let other = TestKey { address: Some(address().into()), ..one.clone() };
    same("how many of 3 are admitted from the one", one.admitted(3).await?, 2)?;
    same("how many of 3 are admitted from the other", other.admitted(3).await?, 2)
}

async fn networks_of_two_cuts_share_no_window(limiter: Limiter) -> Verdict {
    let address = address();
    let wide = caller(&limiter, address.into(), &[(2, scope(48)?)])?;
    let narrow = caller(&limiter, address.into(), &[(3, scope(64)?)])?;
    same("how many of 3 are admitted by the wide cut", wide.admitted(3).await?, 2)?;
    same("how many of 4 are admitted by the narrow cut", narrow.admitted(4).await?, 3)?;
    // Both networks of an IPv4 address have 32 bits.
    let address = ipv4_address();
    let both = caller(&limiter, address.into(), &[(9, scope(48)?), (8, scope(64)?)])?;
    same("how many of 1 are admitted by both", both.admitted(1).await?, 1)?;
    same("what each window has left", both.left().await?, vec![8, 7])
}

async fn mapped_addresses_are_ipv4(limiter: Limiter) -> Verdict {
    let address = ipv4_address();
    let plain = caller(&limiter, address.into(), &[(2, scope(64)?)])?;
    let mapped = TestKey { address: Some(address.to_ipv6_mapped().into()), ..plain.clone() };
    same("how many of 1 are admitted", plain.admitted(1).await?, 1)?;
    same("how many of 2 are admitted from the mapped address, of 1", mapped.admitted(2).await?, 1)
}

async fn key_and_network_give_all_or_nothing(limiter: Limiter) -> Verdict {
    for (of_key, of_network) in [(2, 5), (5, 2)] {
        let quotas = [(of_key, QuotaScope::Key), (of_network, scope(64)?)];
        let caller = caller(&limiter, address().into(), &quotas)?;
        same("how many of 9 are admitted", caller.admitted(9).await?, 2)?;
        same(
            "what the key and the network have left",
            caller.left().await?,
            vec![of_key - 2, of_network - 2],
        )?;
    }
    Ok(())
}

async fn a_draw_without_the_counted_owner_fails(limiter: Limiter) -> Verdict {
    let unknown = TestKey { address: None, ..caller(&limiter, address().into(), &[(2, scope(64)?)])? };
    holds("a draw for an unknown network fails", unknown.draw().await.is_err())?;
    for counts in [QuotaScope::Key, QuotaScope::Account] {
        let keyless = caller(&limiter, address().into(), &[(2, counts)])?.keyless();
        holds("a draw for no key fails", keyless.draw().await.is_err())?;
    }
    Ok(())
}
