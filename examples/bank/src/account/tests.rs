use es_testkit::given;

use super::*;

fn opened() -> AccountEvent {
    AccountEvent::Opened { owner: "Ann".into(), overdraft: Overdraft::Refused }
}

fn deposited(cents: i64) -> AccountEvent {
    AccountEvent::Deposited { amount: Money::from_cents(cents), purpose: None }
}

fn withdraw(cents: i64) -> AccountCommand {
    AccountCommand::Withdraw { amount: Money::from_cents(cents), purpose: None }
}

#[test]
fn an_account_is_opened_once() {
    let open = || AccountCommand::Open { owner: "Ann".into() };
    given::<Account>([]).when(open()).then([opened()]);
    given::<Account>([opened()]).when(open()).then_error(AccountError::AlreadyOpen);
}

#[test]
fn a_withdrawal_over_the_balance_is_refused() {
    given::<Account>([opened(), deposited(100)])
        .when(withdraw(101))
        .then_error(AccountError::Overdrawn { balance: Money::from_cents(100), asked: Money::from_cents(101) });
    given::<Account>([opened(), deposited(100)])
        .when(withdraw(100))
        .then([AccountEvent::Withdrawn { amount: Money::from_cents(100), purpose: None }]);
}

#[test]
fn nothing_but_an_import_opens_an_account_by_the_way() {
    given::<Account>([]).when(withdraw(1)).then_error(AccountError::NotOpen);
    let imported = ImportedTransaction {
        owner: "account 1".into(),
        direction: Direction::Debit,
        amount: Money::from_cents(5),
        purpose: None,
    };
    given::<Account>([]).when(AccountCommand::BookImported(imported)).then([
        AccountEvent::Opened { owner: "account 1".into(), overdraft: Overdraft::Allowed },
        AccountEvent::Withdrawn { amount: Money::from_cents(5), purpose: None },
    ]);
}

#[test]
fn an_amount_of_nothing_is_refused() {
    given::<Account>([opened()]).when(withdraw(0)).then_error(AccountError::NotPositive(Money::ZERO));
}
