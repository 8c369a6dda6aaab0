"""Checksums and number plans against published examples and against every single-digit slip."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from feedback_platform.intake.privacy import validators as v
from feedback_platform_tests.intake.privacy import specimens

# Test numbers that card networks and payment services publish.
CARDS = """4111111111111111 4222222222222 4012888888881881 5555555555554444 5105105105105100 2223003122003222
378282246310005 371449635398431 6011111111111117 6011000990139424 30569309025904 38520000023237 36227206271667
3530111333300000 3566002020360505 6200000000000005 6759649826438453""".split()
# Examples of the SWIFT IBAN registry.
IBANS = """AD1200012030200359100100 AE070331234567890123456 AT611904300234573201 BE68539007547034 CH9300762011623852957
CY17002001280000001200527600 DE89370400440532013000 DK5000400440116243 ES9121000418450200051332 FI2112345600000785
FR1420041010050500013M02606 GB29NWBK60161331926819 GR1601101250000000012300695 IE29AIBK93115212345678
IT60X0542811101000000123456 LU280019400644750000 MT84MALT011000012345MTLCAST001S NL91ABNA0417164300 NO9386011117947
PL61109010140000071219812874 PT50000201231234567890154 RO49AAAA1B31007593840000 SA0380000000608010167519
SE4550000000058398257466 TR330006100519786457841326 BR1800360305000010009795493C1 LC55HEMM000100010012001200023015""".split()


@pytest.mark.parametrize("number", CARDS)
def test_published_cards_hold_and_slips_do_not(number):
    assert v.is_card(number)
    for place, digit in enumerate(number):
        for slip in "0123456789".replace(digit, ""):
            assert not v.luhn_holds(number[:place] + slip + number[place + 1 :])


@pytest.mark.parametrize(
    "number",
    ["1700000000006", "0000000000000000", "411111111111", "9999999999999995", "41111111111111111111"],
    ids=["a time in milliseconds", "zeros", "12 digits", "no issuer", "20 digits"],
)
def test_numbers_that_no_issuer_gives_out_are_no_cards(number):
    assert not v.is_card(number)


@pytest.mark.parametrize("text", IBANS)
def test_published_ibans_hold_and_slips_do_not(text):
    assert v.is_iban(text)
    assert v.is_iban(text.lower())
    for place in range(2, len(text)):
        if text[place].isdigit():
            assert not v.is_iban(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    assert not v.is_iban(text + "0")
    assert not v.is_iban("XX" + text[2:])


@pytest.mark.parametrize("address", ["8.8.8.8", "192.168.1.20", "10.0.0.1", "223.255.255.1"])
def test_addresses_of_hosts(address):
    assert v.is_ipv4(address)


@pytest.mark.parametrize("text", ["256.1.1.1", "1.2.3", "01.2.3.4", "127.0.0.1", "0.1.2.3", "255.255.255.255"])
def test_what_is_no_hosts_address(text):
    assert not v.is_ipv4(text)


@pytest.mark.parametrize("address", ["2001:db8::1", "fe80::1", "fd12:3456:789a::1", "2001:db8::1.2.3.4", "2a00::"])
def test_addresses_of_hosts_in_version_6(address):
    assert v.is_ipv6(address)


@pytest.mark.parametrize("text", ["::", "::1", "a::b", "1::2", "dead::beef", "12:30:45", "2001:db8", "ff02::1"])
def test_code_and_times_are_no_addresses(text):
    assert not v.is_ipv6(text)


@pytest.mark.parametrize(
    ("digits", "good"),
    [
        ("493012345678", True), ("14155552671", True), ("390612345678", True), ("35312345678", True),
        ("11155552671", False), ("1415555267", False), ("4903012345678", False), ("10000000", False),
        ("2100000000", False), ("4930123", False), ("4930123456789012", False), ("999", False),
    ],
)  # fmt: skip
def test_calling_codes_and_lengths(digits, good):
    assert v.is_international(digits) == good


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("030 1234567", True), ("07700 900 123", True), ("02 9876 5432", True), ("01 42 68 53 00", True),
        ("012 034 056", False), ("01 02 2003", False), ("02 2010 2012", False), ("0123 4567", False),
        ("007 1234567", False), ("0301234567", False), ("30 1234567", False), ("0123 4567 8901 234", False),
    ],
)  # fmt: skip
def test_groups_behind_a_trunk_zero(text, good):
    assert v.is_national(text.split()) == good


@given(st.integers())
def test_made_up_specimens_hold(seed):
    chance = random.Random(seed)
    assert v.is_card("".join(filter(str.isdigit, specimens.card(chance))))
    assert v.is_iban(specimens.iban(chance).replace(" ", ""))
