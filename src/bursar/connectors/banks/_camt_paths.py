"""Where a CAMT document keeps what, over all versions: element paths to our field names, as a tree to walk along.

Source: ISO 20022 message definitions camt.052/053/054.001.01 to .001.13; version 4 moved the party details, version 8
put codes and parties one level deeper.
"""

from dataclasses import dataclass, field

_PARTY = {"": "name", "Pty/": "name"}
_ACCOUNT = ("Id/IBAN", "Id/Othr/Id", "Id/PrtryAcct/Id", "Id/BBAN")
_BANK = ("FinInstnId/BICFI", "FinInstnId/BIC", "FinInstnId/ClrSysMmbId/MmbId", "FinInstnId/Nm")

_IDENTIFIED = ("Id/OrgId/Othr", "Id/PrvtId/Othr", "Id/OrgId/PrtryId")
_NUMBERED = {"Id/OrgId/LEI": "lei", "Id/OrgId/TaxIdNb": "tax", "Id/PrvtId/TaxIdNb": "tax", "CtctDtls/EmailAdr": "email"}
_NUMBER = {"Id": "value", "SchmeNm/Cd": "scheme", "SchmeNm/Prtry": "scheme", "IdTp": "scheme", "Issr": "issuer"}
_CARD = {"Id/Id": "value", "Id/Tp": "type", "Id/ShrtNm": "name"}

_TRANSACTION = {
    "Refs/EndToEndId": "end_to_end_id",
    "Refs/AcctSvcrRef": "tx_ref",
    "Refs/TxId": "tx_id",
    "Refs/InstrId": "instruction_id",
    "Refs/ChqNb": "cheque",
    "Refs/MndtId": "mandate",
    "Amt": "amount",
    "CdtDbtInd": "side",
    "AmtDtls/TxAmt/Amt": "tx_amount",
    "AmtDtls/InstdAmt/Amt": "instructed",
    "AmtDtls/InstdAmt/CcyXchg/XchgRate": "rate",
    "AmtDtls/CntrValAmt/CcyXchg/XchgRate": "rate",
    "AmtDtls/TxAmt/CcyXchg/XchgRate": "rate",
    "Chrgs/Amt": "charges",
    "Chrgs/Rcrd/Amt": "charges",
    "BkTxCd/Domn/Cd": "domain",
    "BkTxCd/Domn/Fmly/Cd": "family",
    "BkTxCd/Domn/Fmly/SubFmlyCd": "subfamily",
    "BkTxCd/Prtry/Cd": "proprietary",
    "RmtInf/Ustrd": "text*",
    "RmtInf/Strd/CdtrRefInf/Ref": "structured*",
    "RmtInf/Strd/CdtrRefInf/CdtrRef": "structured*",
    "RmtInf/Strd/RfrdDocInf/Nb": "document*",
    "RmtInf/Strd/RfrdDocInf/RfrdDocNb": "document*",
    "RmtInf/Strd/AddtlRmtInf": "text*",
    "AddtlTxInf": "more",
    "RtrInf/Rsn/Cd": "return_reason",
    "RtrInf/RtrRsn/Cd": "return_reason",
    **{
        f"RltdPties/{who}/{deep}Nm": f"{short}_name"
        for who, short in (("Dbtr", "dbtr"), ("Cdtr", "cdtr"))
        for deep in _PARTY
    },
    **{f"RltdPties/Ultmt{who}/{deep}Nm": f"{who.lower()}_ultimate" for who in ("Dbtr", "Cdtr") for deep in _PARTY},
    **{
        f"RltdPties/{who}/{deep}{path}": f"{who.lower()}_{scheme}"
        for who in ("Dbtr", "Cdtr")
        for deep in _PARTY
        for path, scheme in _NUMBERED.items()
    },
    **{f"RltdPties/{who}Acct/{path}": f"{who.lower()}_account" for who in ("Dbtr", "Cdtr") for path in _ACCOUNT},
    **{f"RltdAgts/{who}Agt/{path}": f"{who.lower()}_bank" for who in ("Dbtr", "Cdtr") for path in _BANK},
}

_ENTRY = {
    "Amt": "amount",
    "CdtDbtInd": "side",
    "RvslInd": "reversal",
    "Sts": "status",
    "Sts/Cd": "status",
    "Sts/Prtry": "status",
    "BookgDt/Dt": "booked",
    "BookgDt/DtTm": "booked",
    "ValDt/Dt": "valued",
    "ValDt/DtTm": "valued",
    "AcctSvcrRef": "ref",
    "NtryRef": "number",
    "BkTxCd/Domn/Cd": "domain",
    "BkTxCd/Domn/Fmly/Cd": "family",
    "BkTxCd/Domn/Fmly/SubFmlyCd": "subfamily",
    "BkTxCd/Prtry/Cd": "proprietary",
    "AmtDtls/InstdAmt/Amt": "instructed",
    "AmtDtls/InstdAmt/CcyXchg/XchgRate": "rate",
    "Chrgs/Amt": "charges",
    "Chrgs/Rcrd/Amt": "charges",
    "AddtlNtryInf": "more",
}

_RECORD = {
    "Id": "id",
    "ElctrncSeqNb": "sequence",
    "CreDtTm": "created",
    "FrToDt/FrDtTm": "from",
    "FrToDt/ToDtTm": "to",
    "Acct/Id/IBAN": "account",
    "Acct/Id/Othr/Id": "account",
    "Acct/Id/PrtryAcct/Id": "account",
    "Acct/Id/BBAN": "account",
    "Acct/Ccy": "currency",
}

_BALANCE = {
    "Tp/CdOrPrtry/Cd": "type",
    "Tp/CdOrPrtry/Prtry": "type",
    "Tp/Cd": "type",
    "Amt": "amount",
    "CdtDbtInd": "side",
    "Dt/Dt": "day",
    "Dt/DtTm": "day",
}

_MESSAGES = {
    "BkToCstmrStmt": "Stmt",
    "BkToCstmrAcctRpt": "Rpt",
    "BkToCstmrDbtCdtNtfctn": "Ntfctn",
    "BkToCstmrStmtV01": "Stmt",
}


@dataclass(slots=True)
class Node:
    """An element we know: its children, the field its text fills, the record it opens.

    ``field`` ends in ``*`` where several occurrences are joined; ``opens`` is stmt, bal, ntry, tx, or the list that a
    record of its own goes to (``dbtr_ids``, ``cdtr_ids``, ``card``).
    """

    children: dict[str, "Node"] = field(default_factory=dict)
    field: str = ""
    opens: str = ""


def _add(root: Node, paths: dict[str, str]) -> None:
    for path, name in paths.items():
        _at(root, path).field = name


def _at(root: Node, path: str) -> Node:
    node = root
    for step in path.split("/"):
        node = node.children.setdefault(step, Node())
    return node


def _open(root: Node, path: str, opens: str, fields: dict[str, str]) -> None:
    node = _at(root, path)
    node.opens = opens
    _add(node, fields)


def _identify(transaction: Node) -> None:
    """Add what identifies a counterparty besides its account."""
    for who in ("Dbtr", "Cdtr"):
        for deep in _PARTY:
            for path in _IDENTIFIED:
                _open(transaction, f"RltdPties/{who}/{deep}{path}", f"{who.lower()}_ids", _NUMBER)
    _open(transaction, "CardTx/POI", "card", _CARD)


def _tree() -> Node:
    root = Node()
    for message, record in _MESSAGES.items():
        for top in (f"Document/{message}", message):
            statement = _at(root, f"{top}/{record}")
            statement.opens = "stmt"
            _add(statement, _RECORD)
            balance, entry = _at(statement, "Bal"), _at(statement, "Ntry")
            balance.opens, entry.opens = "bal", "ntry"
            _add(balance, _BALANCE)
            _add(entry, _ENTRY)
            transaction = _at(entry, "NtryDtls/TxDtls")
            transaction.opens = "tx"
            _add(transaction, _TRANSACTION)
            _identify(transaction)
            _open(entry, "CardTx/POI", "card", _CARD)
    return root


TREE = _tree()
"""The root above ``Document``."""
