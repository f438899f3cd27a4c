-- The log of sql/schema/postgres.sql.
select
    user_id,
    item_id,
    happened_at as ts,
    weight
from shop.interactions
