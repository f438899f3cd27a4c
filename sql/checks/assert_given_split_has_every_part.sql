-- Without training rows nothing is learned, without validation nothing can be chosen, without test nothing judged.
with parts as (
    select unnest(['train', 'validation', 'test']) as part where getvariable('split') = 'given'
)
select part as empty_part
from parts
anti join interactions using (part)
