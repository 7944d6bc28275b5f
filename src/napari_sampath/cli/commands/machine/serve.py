"""`sampath serve`: compute features for other machines."""

from __future__ import annotations

import argparse
import socket
from pathlib import Path

from ....errors import ConfigError
from ...output import Output
from ...subcommand import Subcommand, add_model, load


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of `sampath serve`."""
    parser.add_argument(
        "--token-file",
        type=Path,
        required=True,
        metavar="FILE",
        help="file with the token that clients send; created with a random token if it does not exist",
    )
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; others than this machine need a certificate (default: %(default)s)",
    )
    parser.add_argument(
        "--port", type=int, default=8765, metavar="N", help="port to listen on (default: %(default)s)"
    )
    parser.add_argument("--certificate", type=Path, metavar="FILE", help="certificate chain, PEM")
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key of the certificate, PEM")
    add_model(parser, remote=False)


def run(args: argparse.Namespace, output: Output) -> None:
    """Serve until the process is stopped."""
    from ....server.serving import check_access, make_server, read_token

    check_access(args.host, args.certificate, args.key)
    token, is_new = read_token(args.token_file)
    if is_new:
        output.note(
            f"Created '{args.token_file}'; copy it to the machines that use this server, and keep it secret."
        )
    # Bind before the model is loaded, so that a port in use is reported at once.
    try:
        listening = socket.create_server((args.host, args.port), family=_family(args.host))
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"Port {args.port} of '{args.host}' cannot be used ({error}); give another --port or --host."
        ) from error
    with listening:
        model = load(args, output)
        server = make_server(model, token, args.host, args.port, args.certificate, args.key)
        scheme = "http" if args.certificate is None else "https"
        host = f"[{args.host}]" if ":" in args.host else args.host
        address = f"{scheme}://{host}:{listening.getsockname()[1]}"
        output.result(
            {"address": address, "model": model.name, "precision": model.precision},
            f"Serving {model.name} at {address}; press Ctrl-C to stop.",
        )
        server.run(sockets=[listening])


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


SUBCOMMAND = Subcommand(
    "compute features for other machines, so that they need no GPU",
    "sampath serve --token-file token.txt --model vit_b",
    arguments,
    run,
)
