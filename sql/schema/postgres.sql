-- A schema for a shop that has none, read by the queries below sql/sources/postgres. To make it, all or nothing:
--   psql -1 -v ON_ERROR_STOP=1 -f sql/schema/postgres.sql DATABASE
-- Ids are text of any form. Times have a zone. Nothing here is Medley's to write: it reads in a read-only transaction.

create schema if not exists shop;

-- The catalogue. One row an item, whether it is for sale or not: what was chosen once is learned from, so an item that
-- has a log cannot be deleted.
create table if not exists shop.items (
    item_id text primary key,
    title text not null,
    -- All that is said of it, beside the title.
    description text,
    -- Attributes that consumers filter by; add your own.
    category text,
    price numeric(12, 2) check (price >= 0),
    in_stock boolean not null default true
);

-- Its pictures and recordings, the first of which by `place` is read. path: relative to source.media_root.
create table if not exists shop.media (
    item_id text not null references shop.items on delete cascade,
    kind text not null check (kind in ('image', 'audio')),
    place integer not null default 0,
    path text not null,
    primary key (item_id, kind, place)
);

-- What users did with items: a row an event. weight: how much it says; a purchase more than a look.
create table if not exists shop.interactions (
    interaction_id bigint generated always as identity primary key,
    user_id text not null,
    item_id text not null references shop.items,
    kind text not null default 'purchase',
    weight real not null default 1 check (weight > 0),
    happened_at timestamptz not null
);

-- What users were shown, chosen or not: the re-ranker learns from it.
create table if not exists shop.impressions (
    impression_id bigint generated always as identity primary key,
    user_id text not null,
    item_id text not null references shop.items,
    shown_at timestamptz not null
);

-- What users say of themselves.
create table if not exists shop.profiles (
    user_id text primary key,
    profile text not null
);

-- Medley reads whole tables. These are for what a shop asks itself: the events of a user or of an item, and, where the
-- log is kept in the order of its times, those since a moment, at a thousandth of an ordinary index's size.
create index if not exists interactions_of_user on shop.interactions (user_id, happened_at);
create index if not exists interactions_of_item on shop.interactions (item_id);
create index if not exists interactions_by_time on shop.interactions using brin (happened_at);
create index if not exists impressions_of_user on shop.impressions (user_id, shown_at);
create index if not exists impressions_of_item on shop.impressions (item_id);
create index if not exists impressions_by_time on shop.impressions using brin (shown_at);
