-- A training row at or after the test's cut time is the commonest leak of this field.
with dated as (
    select user_id, item_id, ts, part from interactions
    union all
    select user_id, item_id, ts, part from shown
)
select user_id, item_id, ts, part
from dated, cuts
where (part = 'train' and ts >= validation_cut)
   or (part <> 'test' and ts >= test_cut)
