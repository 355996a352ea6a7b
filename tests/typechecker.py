"""Who checks types in the second run of `make test`: beartype, to which a whole number is a float, as to PEP 484."""

from beartype import BeartypeConf, beartype

check = beartype(conf=BeartypeConf(is_pep484_tower=True))
