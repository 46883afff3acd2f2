"""What is written on an order in any status of it: notes, tags, metadata."""

from typing import Annotated

from pydantic import Field

from commands.command import Metadata, Note, OrderCommand, Tag
from commands.decision import NOTHING, Decision
from commands.order_state import Order
from events.order import MetadataSet, NoteAdded, TagsSet

# What may be asked -------------------------------------------------------------------------------------------


class AddNote(OrderCommand):
    """Write something down about the order."""

    note: Note


class SetTags(OrderCommand):
    """Give the order these tags, and no others."""

    tags: Annotated[tuple[Tag, ...], Field(max_length=50)]


class SetMetadata(OrderCommand):
    """Give the order this metadata, and no other."""

    metadata: Metadata


# What is decided ---------------------------------------------------------------------------------------------


def add_note(command: AddNote) -> Decision:
    return Decision((NoteAdded(command.at, command.note),))


def set_tags(command: SetTags, order: Order) -> Decision:
    tags = tuple(sorted(set(command.tags)))
    return Decision((TagsSet(command.at, tags),)) if tags != order.tags else NOTHING


def set_metadata(command: SetMetadata, order: Order) -> Decision:
    metadata = command.metadata
    return Decision((MetadataSet(command.at, metadata),)) if metadata != order.content.metadata else NOTHING
