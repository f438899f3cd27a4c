-- What users of sql/schema/postgres.sql were shown.
select
    user_id,
    item_id,
    shown_at as ts
from shop.impressions
