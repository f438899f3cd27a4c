-- A training row at or after the test's cut time is the commonest leak of this field.
select user_id, item_id, ts, part
from interactions, cuts
where (part = 'train' and ts >= validation_cut)
   or (part <> 'test' and ts >= test_cut)
