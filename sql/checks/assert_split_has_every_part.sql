-- Without training rows nothing is learned, without validation nothing can be chosen, without test nothing judged.
with parts as (
    select unnest(['train', 'validation', 'test']) as part
),
span as (
    select cast(min(ts) as varchar) as oldest, cast(max(ts) as varchar) as newest from interactions
)
select
    part as empty_part,
    case
        when getvariable('split') = 'given' then 'let the query return such a part'
        when getvariable('split') = 'leave_last_out'
            then 'no user has three choices: set ingest.split to time, or to given with a part of your own'
        when oldest = newest
            then 'every choice bears the time ' || oldest || ': set ingest.split to leave_last_out or to given'
        when validation_cut = test_cut
            then 'too many choices bear the time ' || cast(test_cut as varchar)
                || ' to be cut there: set ingest.split to leave_last_out or to given'
        else 'set ingest.validation_share and ingest.test_share so that each part of ' || oldest || ' to ' || newest
            || ' has choices, or ingest.split to leave_last_out'
    end as way_out
from parts
cross join span
cross join cuts
anti join interactions using (part)
order by part
